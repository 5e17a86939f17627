"""Postgres: connections, transactions, migrations and idempotency keys."""
