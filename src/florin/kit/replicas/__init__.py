"""Replicas: reads from replicas that are never older than what the caller has seen."""
