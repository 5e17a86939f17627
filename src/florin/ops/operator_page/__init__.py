"""Operator page: the state of the fleet as one document, one stream and one page."""
