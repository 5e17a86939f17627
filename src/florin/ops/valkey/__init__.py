"""Valkey: the servers of a fleet: one, with Sentinels, or a cluster."""
