"""The limits of the architecture: sizes, folders, layers, the permission table, no SQL in APIs."""

import ast
import re
import tomllib
import warnings
from collections import Counter
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "florin"
FILE_LINES, FUNCTION_LINES, FOLDER_MODULES = 250, 50, 20

# Each exception: its limit, and why it is one idea.
LONG_FILES: dict[str, tuple[int, str]] = {
    "cards/api/cards.py": (270, "routes with their documentation"),
    "cards/api/transactions.py": (340, "routes with their documentation"),
    "cards/issuing.py": (260, "one card: issue it, replace its secrets, show them"),
    "cards/jobs/import_upload.py": (300, "one upload: read, check, seal, record"),
    "cards/transactions/operations.py": (260, "one operation after the other"),
    "demo/load.py": (270, "one load with its phases"),
    "identity/members.py": (290, "members and the rules of their roles"),
    "identity/sessions.py": (270, "one sign-in: begin, refresh, revoke"),
    "kit/queue/worker.py": (260, "one worker: claim, run, renew, stop"),
    "kit/observability/metrics.py": (270, "the metrics of every process"),
    "deliveries/texts.py": (280, "the texts of mails, by language"),
    "ledger/issue.py": (270, "one issuance: of requests, jobs and orders"),
    "ledger/post.py": (260, "one posting: its item, its result, its refusals"),
    "ledger/batching.py": (270, "one batcher: items together, alone, and repeated"),
    "cards/delivering.py": (280, "the deliveries of cards: made, sent again, with new links"),
    "orders/checkout.py": (300, "one checkout: place, open, cancel, try again"),
    "orders/refunds.py": (280, "one refund: begin, adopt, resolve, undo"),
    "payments/payment.py": (280, "a payment, its refunds and disputes, read and shown"),
    "routes.py": (320, "every route on one page"),
    "worker.py": (320, "every kind of job on one page"),
    "ops/diagnostics/database_advisor.py": (320, "one finding per query"),
    "ops/diagnostics/doctor.py": (290, "one check after the other"),
    "ops/planning/autoscaling.py": (280, "one pure decision with its rules"),
}
LONG_FUNCTIONS: dict[str, tuple[int, str]] = {
    "app.py:create_app": (120, "what an application is made of, in one place"),
    "bench/main.py:main": (80, "options of a command"),
    "cards/api/imports.py:import_cards": (70, "a route with its parameters"),
    "cards/transactions/spend.py:spend_posting": (70, "one posting from one request"),
    "cli/bench.py:bench": (80, "options of a command"),
    "cli/fleet.py:up": (100, "options of a command"),
    "identity/api_keys.py:create_key": (60, "one transaction"),
    "ops/diagnostics/doctor.py:_facts": (70, "one check after the other"),
    "services.py:__init__": (60, "the resources of an instance, in their order"),
    "ops/topology/app_process.py:part": (70, "one specification of a part"),
}

_SQL = re.compile(
    r"\b(select\s.+\sfrom|insert\s+into|update\s+\w+\.\w+\s+set|delete\s+from)\s", re.IGNORECASE
)

_TYPE = re.compile(r":\w+(?=})")  # /cards/{card:str}


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def place(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def test_files_stay_within_their_limit() -> None:
    lengths = {place(path): len(path.read_text("utf-8").splitlines()) for path in modules()}
    assert len(lengths) > 250
    long = {name: n for name, n in lengths.items() if n > LONG_FILES.get(name, (FILE_LINES, ""))[0]}
    assert not long
    idle = [name for name in LONG_FILES if lengths.get(name, 0) <= FILE_LINES]
    assert not idle, "an exception that is no longer needed"


def functions(path: Path) -> dict[str, int]:
    """Lines of each function, decorators left out, by `file:name`."""
    found: dict[str, int] = {}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            name = f"{place(path)}:{node.name}"
            found[name] = max(found.get(name, 0), node.end_lineno - node.lineno + 1)
    return found


def test_functions_stay_within_their_limit() -> None:
    lengths = {name: n for path in modules() for name, n in functions(path).items()}
    assert len(lengths) > 1000
    long = {
        n: lines
        for n, lines in lengths.items()
        if lines > LONG_FUNCTIONS.get(n, (FUNCTION_LINES, ""))[0]
    }
    assert not long
    idle = [name for name in LONG_FUNCTIONS if lengths.get(name, 0) <= FUNCTION_LINES]
    assert not idle, "an exception that is no longer needed"


def test_no_folder_is_crowded() -> None:
    count = Counter(place(path.parent) for path in modules() if path.name != "__init__.py")
    crowded = {folder: n for folder, n in count.items() if n > FOLDER_MODULES}
    assert not crowded


def test_every_package_has_a_layer_and_new_ones_fail_the_check() -> None:
    """`bin/check` executes the layers; `exhaustive` makes it refuse a package without one."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    [layers] = [
        contract
        for contract in config["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    assert layers["exhaustive"] is True
    listed = {name.strip(" ()") for layer in layers["layers"] for name in layer.split("|")}
    present = {
        path.stem
        for path in SOURCE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert present - {"__init__"} <= listed


def test_every_route_is_in_the_permission_table_and_nothing_else_is() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the framework's, on import
        routes: Any = import_module("florin.routes")
    served = {
        f"{method} {_TYPE.sub('', route.path_format).removeprefix(routes.BASE)}"
        for route in routes.api.routes
        for method in route.methods - {"OPTIONS", "HEAD"}
    }
    assert len(served) > 60
    assert served == set(routes.NEEDS)


def test_every_page_is_in_the_permission_table_and_names_its_visitor() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the framework's, on import
        routes: Any = import_module("florin.web.page_routes")
    signed_in: dict[str, bool] = {}
    for route in routes.pages.routes:
        for handler in route.route_handlers:
            for method in handler.http_methods - {"OPTIONS", "HEAD"}:
                name = f"{method} {_TYPE.sub('', route.path_format)}"
                signed_in[name] = "visitor" in signature(handler.fn).parameters
                assert handler.opt.get("page"), f"{name} is not made with PAGE"
    assert len(signed_in) > 50
    assert set(signed_in) == set(routes.PAGES)
    # The guard finds the visitor by this parameter: without it a page would be open to everyone.
    assert signed_in == {name: need != routes.PUBLIC for name, need in routes.PAGES.items()}


def test_modules_of_routes_hold_no_sql() -> None:
    apis = [path for path in modules() if path.name == "api.py" or path.parent.name == "api"]
    assert len(apis) > 10
    found: dict[str, list[str]] = {}
    for path in apis:
        texts = [
            node.value
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        if sql := [text[:60] for text in texts if _SQL.search(text)]:
            found[place(path)] = sql
    assert not found
