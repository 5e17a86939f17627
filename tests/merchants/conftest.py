"""Members send requests without a key, as in the tests of identity."""

from tests.identity.conftest import http

__all__ = ["http"]
