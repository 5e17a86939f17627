"""Diagnostics: what runs, how well, and what to do about the rest."""
