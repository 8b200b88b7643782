"""The dashboard: what the server holds, as pages in a browser."""
