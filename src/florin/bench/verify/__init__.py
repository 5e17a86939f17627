"""Verify: checks, after a benchmark, that nothing was lost and the books are right."""
