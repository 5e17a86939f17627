"""A client with an API key, unlike the other tests of identity."""

from tests.conftest import http

__all__ = ["http"]
