"""Merchants: registration, settings and programs."""
