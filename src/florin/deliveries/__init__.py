"""Deliveries: e-mail and other messages to people, and the links to the pages of cards."""
