"""Gameday: deliberate faults, to prove that a fleet survives them."""
