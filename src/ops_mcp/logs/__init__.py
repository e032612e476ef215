"""What log lines say of themselves: how bad, when, and whether they are what was asked for. Pure: no IO, no clock."""
