"""The fleets of the tests of ops serve here, too."""

from tests.ops.conftest import fleet, make_fleet

__all__ = ["fleet", "make_fleet"]
