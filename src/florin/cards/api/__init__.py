"""API: the routes for cards, their transactions and their jobs."""
