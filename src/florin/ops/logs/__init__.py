"""Logs: the log files of a fleet's parts: their rotation, and reading them as one stream."""
