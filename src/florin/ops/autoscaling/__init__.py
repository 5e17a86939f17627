"""Autoscaling: workers come with the load and go after it."""
