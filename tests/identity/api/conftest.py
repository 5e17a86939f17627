"""The tests of API keys ask with a key, unlike those of people."""

from tests.conftest import http

__all__ = ["http"]
