"""Releases: which version runs, and the copies of versions kept in a home."""
