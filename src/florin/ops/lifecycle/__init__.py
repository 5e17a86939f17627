"""Lifecycle: a fleet comes up, is taken over, and goes down."""
