"""Queue: background jobs that any worker runs, stored in the ledger's PostgreSQL database."""
