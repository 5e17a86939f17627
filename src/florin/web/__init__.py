"""Web: the pages of Florin."""
