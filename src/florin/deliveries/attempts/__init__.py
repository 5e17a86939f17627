"""Attempts: to send a delivery, and what becomes of it."""
