"""The program that keeps one command; run as a directory by a bare interpreter, never imported by ops-mcp but for `kin`."""
