"""Law: what countries require of cards, as data with dates and sources."""
