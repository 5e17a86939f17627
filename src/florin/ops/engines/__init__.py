"""Engines: the servers a fleet brings along, each a direct child of the supervisor."""
