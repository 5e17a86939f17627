"""Releases: the name of the current version, and the copies of versions in a home."""
