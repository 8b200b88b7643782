"""How clients get in: command line and MCP server."""
