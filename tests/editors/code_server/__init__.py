"""A real VS Code: code-server with the packaged extension, shown by headless Chromium."""
