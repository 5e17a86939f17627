"""Supervisor: start, watch and restart processes."""
