"""Diagnostics: the status of the fleet, and checks with advice."""
