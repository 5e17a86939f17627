"""Gameday: faults on purpose, to see that a fleet survives them."""
