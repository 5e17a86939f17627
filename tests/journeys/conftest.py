"""Uses the fleets of the tests of ops."""

from tests.ops.conftest import fleet, make_fleet

__all__ = ["fleet", "make_fleet"]
