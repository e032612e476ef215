"""The toolset for what some places can do besides deploying: promote, scale, variables, provisioning."""
