"""Scenarios: benchmarks of a fleet that is deployed, fails over or reads from replicas."""
