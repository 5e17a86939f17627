"""Florin: gift cards, exact to the cent."""

__version__ = "0.1.0"
