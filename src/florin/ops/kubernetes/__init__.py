"""Kubernetes: deployments in a cluster, by kubectl and with the planner of the fleet."""
