"""Test clock: the time of a test merchant, which can be moved to what is due next."""
