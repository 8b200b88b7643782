"""The language server: what a kernel costs, what is wrong with it and what its words mean, while it is typed."""
