"""One module for each MCP tool: arguments, result, the text a model reads, the call into the engine."""
