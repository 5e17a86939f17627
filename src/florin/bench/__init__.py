"""Bench: measure Florin beside what it could be, and check its books afterwards."""
