"""Jobs: what is done with many cards at once, or later: issue, import, export, expire."""
