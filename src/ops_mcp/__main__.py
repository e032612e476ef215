"""`python -m ops_mcp` is `ops-mcp`."""

from ops_mcp.cli import main

if __name__ == "__main__":
    main()
