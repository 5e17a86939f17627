"""Rate limits: how often a caller may do something."""
