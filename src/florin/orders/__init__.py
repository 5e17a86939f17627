"""Orders: selling cards, from the order to its cards, refunds and disputes."""
