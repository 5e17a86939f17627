"""Replicas: reads that replicas answer, and never with something older than promised."""
