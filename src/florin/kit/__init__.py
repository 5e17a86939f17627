"""Kit: what knows Python, PostgreSQL and Valkey, and has never heard of a gift card."""
