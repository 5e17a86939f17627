"""Bench: measure Florin against a baseline, and check its ledger afterwards."""
