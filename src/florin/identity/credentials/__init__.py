"""Credentials: passwords, tokens and second factors, and the lock-out of who guesses."""
