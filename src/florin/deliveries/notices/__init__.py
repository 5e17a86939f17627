"""Notices: what members subscribed to: jobs that end, messages that bounce, disabled endpoints."""
