"""Topology: the processes of Florin itself in a fleet, and how they find each other."""
