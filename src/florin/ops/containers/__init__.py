"""Containers: deployments on an engine that others run: Docker with Compose."""
