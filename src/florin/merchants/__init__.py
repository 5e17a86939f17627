"""Merchants: who may do what."""
