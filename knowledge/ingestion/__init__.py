"""Read a team's own manuals: Markdown, HTML, PDF and plain text, files or folders."""
