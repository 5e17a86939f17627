"""Transactions: redeem, refund, hold, load, transfer and adjust; and their history."""
