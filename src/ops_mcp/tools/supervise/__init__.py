"""Tools by which agents tell people and keep them informed."""
