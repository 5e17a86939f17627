"""Backups: copies of the database here and elsewhere, and the way back from them."""
