"""Customer: the pages of those who buy and hold cards, dressed as their merchant."""
