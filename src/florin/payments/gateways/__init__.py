"""Gateways: Florin's own one for development and tests."""
