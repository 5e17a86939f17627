"""Fleet: the facts about a fleet: its home, its parts, what is wanted of it."""
