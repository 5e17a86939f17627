"""Rollout: replace instances and workers in batches, and watch the new ones."""
