"""Reports: balances and proofs."""
