"""Autoscale: the sizing of a fleet of workers, played over recorded loads."""
