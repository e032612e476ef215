"""The operator's verbs. The MCP surface never imports this room: no call of an agent can reach it."""
