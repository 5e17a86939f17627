"""The SDK has every operation: cheap, for those who add a route; tests/sdk calls each of them."""

import warnings
from importlib import import_module
from typing import Any

from florin_client import AsyncFlorin, Florin
from tests.sdk.calls import CALLS

HOW = "see docs/api/python.md, Add an operation"


def test_each_route_has_its_line_in_the_sdk_and_in_its_calls() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the framework's, on import
        routes: Any = import_module("florin.routes")
    names = {
        handler.operation_id or handler.handler_name
        for route in routes.api.routes
        for handler in route.route_handlers
        if handler.resolve_include_in_schema() and handler.http_methods != {"OPTIONS"}
    }
    assert len(names) > 100
    for client in (Florin, AsyncFlorin):
        missing = sorted(name for name in names if not hasattr(client, name))
        assert not missing, f"florin_client/operations.py: {HOW}"
    assert set(CALLS) == names, f"tests/sdk/calls.py: {HOW}"
