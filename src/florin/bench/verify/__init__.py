"""Verify: checks after a benchmark that no write was lost and the ledger is right."""
