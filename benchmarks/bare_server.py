"""A bare MCP server with one echo tool: what the product's own is compared with.

python benchmarks/bare_server.py             # over stdio
python benchmarks/bare_server.py HOST:PORT   # over HTTP
"""

import sys

from mcp.server import MCPServer

server = MCPServer(name="bare", log_level="WARNING")


@server.tool()
def echo(text: str) -> str:
    """Give it back."""
    return text


if __name__ == "__main__":
    if len(sys.argv) > 1:
        host, _, port = sys.argv[1].rpartition(":")
        server.run("streamable-http", host=host, port=int(port))
    else:
        server.run("stdio")
