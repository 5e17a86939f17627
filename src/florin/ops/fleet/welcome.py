"""Welcome: the addresses of a running fleet, and three commands to try."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from florin.ops.fleet.home import Home, write_file
from florin.ops.system import http_probe
from florin.ops.system.console import OperatorError


@dataclass(frozen=True, slots=True)
class DemoMerchant:
    """The demo merchant of a development home, its API key, and the sign-in of its owner."""

    merchant: str
    program: str
    api_key: str
    currency: str = "USD"
    email: str | None = None
    password: str | None = None
    slug: str | None = None


@dataclass(frozen=True, slots=True)
class Welcome:
    url: str
    docs: str
    metrics: str | None
    operator: str | None
    home: str
    demo: DemoMerchant | None


def read_demo(home: Home) -> DemoMerchant | None:
    try:
        return msgspec.json.decode(home.demo.read_bytes(), type=DemoMerchant)
    except (OSError, msgspec.DecodeError):
        return None


async def ensure_demo(
    home: Home, address: str, command: tuple[str, ...], environ: dict[str, str]
) -> DemoMerchant:
    """Return the home's demo merchant; create it at the first start and when its key is invalid."""
    kept = read_demo(home)
    if (
        kept is not None
        and kept.password is not None
        and await _program(address, kept.api_key, kept.program) is not None
    ):
        return kept
    child = await asyncio.create_subprocess_exec(
        *command,
        env=environ,
        cwd=Path("/"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    out, err = await child.communicate()
    try:
        demo = msgspec.json.decode(out, type=DemoMerchant)
    except msgspec.DecodeError:
        lines = err.decode(errors="replace").strip().splitlines()
        no_output = f"The demo merchant could not be created (exit code {child.returncode})."
        raise OperatorError(lines[-1] if lines else no_output) from None
    program = await _program(address, demo.api_key, demo.program)
    if program is not None:
        demo = replace(demo, currency=str(program.get("currency", "USD")))
    write_file(home.demo, msgspec.json.encode(demo))
    return demo


async def _program(address: str, key: str, program: str) -> dict[str, Any] | None:
    headers = {"Authorization": f"Bearer {key}"}
    answer = await http_probe.probe(
        address, f"/api/v1/programs/{program}", headers=headers, within_s=5
    )
    return answer.json() if answer is not None and answer.status == 200 else None  # noqa: PLR2004


def welcome_of(home: Home, url: str) -> Welcome:
    balancer = home.fleet().part("balancer")
    metrics = f"http://{balancer.operations}/metrics/fleet" if balancer is not None else None
    page = f"http://{balancer.operations}/operator" if balancer is not None else None
    return Welcome(
        url=url,
        docs=f"{url}/api/v1/docs",
        metrics=metrics,
        operator=page,
        home=str(home.path),
        demo=read_demo(home),
    )


def format_welcome(welcome: Welcome) -> str:
    lines = [
        "",
        f"  Florin serves at   {welcome.url}",
        f"  Console            {welcome.url}/console",
        f"  Till               {welcome.url}/till",
        f"  Documentation      {welcome.docs}",
        *([f"  Operator page      {welcome.operator}"] if welcome.operator else []),
        *([f"  Metrics            {welcome.metrics}"] if welcome.metrics else []),
        f"  Data and logs      {welcome.home}",
    ]
    demo = welcome.demo
    if demo is None:
        return "\n".join([*lines, ""])
    lines += [
        "",
        f"  Demo merchant      {demo.merchant}",
        f"  Program            {demo.program} ({demo.currency})",
        f"  API key            {demo.api_key}",
        *([f"  Shop               {welcome.url}/s/{demo.slug}"] if demo.slug else []),
        *([f"  Sign-in            {demo.email}  {demo.password}"] if demo.password else []),
        "",
        "  Try it, line by line: issue a card, redeem from it, read the ledger's balances.",
        "",
        *example_calls(welcome.url, demo),
        "",
    ]
    return "\n".join(lines)


def example_calls(url: str, demo: DemoMerchant) -> list[str]:
    """Return three shell commands: the first keeps the card's id for the second."""
    auth = f"-H 'Authorization: Bearer {demo.api_key}'"
    json = "-H 'Content-Type: application/json'"
    issue = f'{{"program":"{demo.program}","amount":5000}}'
    redeem = f'{{"card":"\'$CARD\'","amount":1250,"currency":"{demo.currency}"}}'
    keep_id = 'grep -o "crd_[0-9a-z]*" | head -n 1'

    def post(path: str, key: str, body: str) -> str:
        key = f'-H "Idempotency-Key: {key}-$(date +%s)"'
        return f"curl -s {url}/api/v1/{path} {auth} {json} {key} -d '{body}'"

    return [
        f'CARD=$({post("cards", "card", issue)} | {keep_id}); echo "$CARD"',
        f"{post('redemptions', 'spend', redeem)}; echo",
        f"curl -s {url}/api/v1/ledger/balances {auth}; echo",
    ]
