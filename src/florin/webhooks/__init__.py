"""Webhooks: deliver events to merchants."""
