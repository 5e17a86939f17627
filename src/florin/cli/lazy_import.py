"""Lazy import: import a command's module only when the command runs."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from florin.ops.system.console import OperatorError


def run_api() -> int:
    return call("florin.app")


def call(module: str, **arguments: Any) -> int:
    """Run the main function of a module and return its exit code."""
    if find_spec(module) is None:
        raise OperatorError(f"{module} is not part of this installation.")
    code: Any = import_module(module).main(**arguments)
    return int(code or 0)
