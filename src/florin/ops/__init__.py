"""Ops: running a fleet of parts. It knows processes and health, and has never heard of a card."""
