"""Rollout: instances and workers replaced one after another, and watched."""
