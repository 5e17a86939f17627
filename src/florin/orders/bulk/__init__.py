"""Bulk orders: one order of many cards, each for a recipient of a list."""
