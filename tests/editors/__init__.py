"""The editor extensions, each in its real editor."""
