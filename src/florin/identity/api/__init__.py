"""API: the routes of signing in, members, profiles and API keys."""
