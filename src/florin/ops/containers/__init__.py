"""Containers: deployments on the engines that others run: Compose on one host, and Swarm."""
