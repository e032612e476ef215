"""ops-mcp lends operations verbs to AI agents and keeps the credentials to itself."""

__version__ = "0.1.0"
