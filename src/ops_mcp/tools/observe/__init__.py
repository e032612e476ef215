"""The toolset for looking at what runs: its logs."""
