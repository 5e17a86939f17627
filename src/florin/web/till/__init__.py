"""Till: the pages of the counter: take money from cards, sell cards."""
