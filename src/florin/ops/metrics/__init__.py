"""Metrics of the fleet that only its supervisor can measure: parts, servers, disks, changes."""
