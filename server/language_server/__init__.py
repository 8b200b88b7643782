"""The language server: what a kernel costs on every target, while it is written."""
