"""Autoscale: a simulation of worker autoscaling under several policies and loads."""
