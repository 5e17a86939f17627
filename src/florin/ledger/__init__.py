"""Ledger: double entry; the only place where money moves."""
