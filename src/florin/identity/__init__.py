"""Identity: who the caller is and what it may do: members, API keys, sign-ins."""
