"""Webhooks: what happened, told to merchants."""
