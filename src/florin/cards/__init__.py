"""Cards: the life of a gift card."""
