"""Transactions: money on cards: spend, refund, hold, load, transfer; and their history."""
