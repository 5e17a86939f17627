"""Topology: the processes of a fleet and their addresses."""
