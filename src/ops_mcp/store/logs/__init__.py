"""The embedded log store: a file of its own, so that the volume of logs never slows the ledger."""
