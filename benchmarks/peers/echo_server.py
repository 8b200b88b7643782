"""A bare MCP server with one tool that returns its argument and some text: the floor of any tool's round trip."""

from mcp.server import MCPServer

server = MCPServer(name="echo", version="0")
TEXT = "x" * 6_000


@server.tool()
def echo(query: str) -> str:
    """Return a text as long as a usual answer."""
    return query + TEXT


if __name__ == "__main__":
    server.run("stdio")
