"""Tasks of agents, as stored: written by what they report, read by whoever looks."""
