"""Fleet: the state of a fleet: its home, its parts, its desired state."""
