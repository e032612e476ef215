"""The embedded metric store: a file of its own, so that samples never slow the ledger."""
