"""The toolset for alerts: rules, what fires, who has it in hand."""
