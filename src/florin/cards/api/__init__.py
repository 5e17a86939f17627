"""API: the routes of cards, their transactions and their jobs."""
