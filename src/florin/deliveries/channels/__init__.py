"""Channels: the ways by which a delivery reaches a person."""
