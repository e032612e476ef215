"""Who may do what: pure decisions with reasons. No IO, no clock, no randomness."""
