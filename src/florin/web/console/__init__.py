"""Console: the pages with which a merchant's staff runs its cards."""
