"""Durable memory: the ledger, the governed state beside it, and migrations. Knows SQL, nothing above it."""
