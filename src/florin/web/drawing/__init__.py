"""Drawing: what the server draws into a page as SVG, with attributes only."""
