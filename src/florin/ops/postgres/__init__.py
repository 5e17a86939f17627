"""Postgres: the database servers of a fleet: primary, replicas, failover."""
