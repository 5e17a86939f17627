"""Ledger: double-entry accounts and entries; the only code that moves money."""
