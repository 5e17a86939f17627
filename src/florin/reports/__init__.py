"""Reports: balances and the proof of the ledger."""
