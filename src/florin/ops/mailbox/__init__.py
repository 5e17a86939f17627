"""Mailbox: keeps the mails of a development fleet instead of sending them."""
