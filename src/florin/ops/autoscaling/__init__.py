"""Autoscaling: adjust the number of workers to the load."""
