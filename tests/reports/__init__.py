"""Reports: the books, read."""
