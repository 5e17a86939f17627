"""Lifecycle: start, take over and stop a fleet."""
