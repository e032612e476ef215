"""One tiny web service inside the wheel: what an anonymous caller may deploy. Nothing of ops_mcp imports it."""
