"""Batches: what many requests do at the same time, in one transaction."""
