"""Alerting: alerts by the fleet itself, for an installation without Prometheus."""
