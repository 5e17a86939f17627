"""Queue: work that is done later, by anybody, once. On the same PostgreSQL as the money."""
