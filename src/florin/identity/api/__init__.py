"""API: the routes of sign-in, members, profiles and API keys."""
