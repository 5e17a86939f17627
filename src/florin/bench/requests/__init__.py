"""Requests: benchmarks of single requests, side by side with pgbench."""
