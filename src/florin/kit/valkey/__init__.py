"""Valkey: clients for its three topologies, notifications, and a circuit breaker."""
