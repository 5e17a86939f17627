"""Environment: the servers and the data that a benchmark runs against."""
