"""Identity: members, API keys, sessions and what each caller may do."""
