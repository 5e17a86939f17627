"""The image: built, then run as an operator runs it, on a real engine, database and network."""

import io
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pypdf
import pytest

from tests.conftest import Urls
from tests.containers.conftest import FORM, Image
from tests.containers.engine import CHECKOUT
from tests.support.connections import connected
from tests.support.instance import NO_TLS
from tests.support.ports import free_port
from tests.support.postgres_server import Server
from tests.support.stripe_server import KEY, SECRET, stripe_server
from tests.support.waiting import until

SIZE_MAX = 95_000_000  # bytes above the base
FULL_SIZE_MAX = 200_000_000
READY_CPU_MAX_S = 2.0
NOT_IN_IMAGE = {"faker", "polyfactory", "pygments"}
WITHIN_S = 60


@pytest.fixture(scope="module")
async def empty(template: Server) -> Urls:
    """A database without a schema, which the image's own `migrate` makes."""
    async with connected(template.url("postgres", "postgres")) as admin:
        await admin.execute("drop database if exists image")
        await admin.execute("create database image owner florin_owner")
    return Urls(
        *(template.url(role, "image") for role in ("florin_app", "florin_owner", "postgres"))
    )


@pytest.fixture(scope="module")
def migrated(image: Image, empty: Urls) -> str:
    """The URL of the application for the database that the image has migrated."""
    environ = {"DATABASE_URL": empty.app, "DATABASE_URL_OWNER": empty.owner}
    assert image.run("migrate", **environ).stdout.startswith("Applied: ")
    assert image.run("migrate", **environ).stdout == "The database is up to date.\n"
    return empty.app


def test_the_image_is_small(built_image: Image) -> None:
    size = built_image.inspect()["Size"] - built_image.inspect(built_image.base)["Size"]
    print(f"\nabove the base: {size / 1e6:.1f} MB")
    assert 0 < size <= SIZE_MAX


@pytest.fixture(scope="module")
def full_image(image: Image) -> Image:
    words = ["env", "LOCK=full", f"BASE={image.base}", "deploy/ci/image.sh", "florin:full"]
    image.engine.run([*words, "--network", "host"], within_s=600)
    return replace(image, tag="florin:full")


@pytest.mark.long_form(FORM)
def test_only_the_full_image_has_what_vouchers_and_stripe_need(
    image: Image, full_image: Image
) -> None:
    size = full_image.inspect()["Size"] - full_image.inspect(image.base)["Size"]
    print(f"\nwith LOCK=full, above the base: {size / 1e6:.1f} MB")
    assert full_image.inspect()["Config"]["Labels"]["florin.lock"] == "full"
    assert 0 < size <= FULL_SIZE_MAX
    missing = image.engine.docker(
        "run", "--rm", "--entrypoint", "python", image.tag, "-P", "-c", "import typst", fails=True
    )
    assert "No module named 'typst'" in missing.stderr


@pytest.mark.long_form(FORM)
async def test_the_full_image_prints_a_voucher_and_opens_a_payment_at_stripe(
    full_image: Image, migrated: str
) -> None:
    port = free_port()
    environ = {"DATABASE_URL": migrated, "FLORIN_PORT": str(port)}
    environ["FLORIN_OPERATIONS_PORT"] = str(free_port())
    said = full_image.run("demo-merchant", "--print", "--json", **environ)
    demo = msgspec.json.decode(said.stdout)
    headers = {"authorization": f"Bearer {demo['api_key']}"}
    base = f"http://127.0.0.1:{port}"
    with stripe_server() as stripe:
        environ |= {"STRIPE_SECRET_KEY": KEY, "STRIPE_WEBHOOK_SECRET": SECRET}
        with full_image.start(**environ, STRIPE_URL=stripe.url):
            async with httpx.AsyncClient(base_url=base, headers=headers, verify=NO_TLS) as http:
                await until(lambda: status_is(http, 200), within_s=WITHIN_S)
                body = {"program": demo["program"], "amount": 2500, "deliver": {"channel": "link"}}
                card = await created(http, "/api/v1/cards", body)
                voucher = await http.get(f"/api/v1/cards/{card['id']}/voucher.pdf")
                assert voucher.status_code == 200, voucher.text
                page = pypdf.PdfReader(io.BytesIO(voucher.content)).pages[0]
                assert card["code"] in page.extract_text()
                items = [{"program": demo["program"], "amount": 5000}]
                body = {"items": items, "buyer": {"email": "ana@example.com"}, "gateway": "stripe"}
                order = await created(http, "/api/v1/orders", body)
        [session] = stripe.all_of("checkout.session")
    assert order["pay_url"] == session["url"]
    assert (session["amount_total"], session["currency"]) == (5000, "eur")


async def created(http: httpx.AsyncClient, path: str, body: Any) -> Any:
    answer = await http.post(path, json=body, headers={"idempotency-key": path})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_the_image_says_what_it_is(built_image: Image) -> None:
    found = built_image.inspect()["Config"]
    labels = found["Labels"]
    prefix = "org.opencontainers.image."
    head = built_image.engine.run(["git", "rev-parse", "--short=12", "HEAD"]).stdout.strip()
    assert labels[f"{prefix}title"] == "Florin"
    assert labels[f"{prefix}revision"].removesuffix("-changed") == head
    assert f"florin {labels[f'{prefix}version']}" == built_image.run("--version").stdout.strip()
    assert re.match(r"20\d\d-\d\d-\d\dT", labels[f"{prefix}created"])
    assert labels[f"{prefix}base.name"] == built_image.base
    assert (found["User"], found["StopSignal"]) == ("10001:10001", "SIGTERM")


def test_a_container_has_no_rights_and_nothing_to_build_with(built_image: Image) -> None:
    seen = built_image.shell(
        "id -u; id -g; grep -E '^(CapEff|CapPrm|CapBnd|NoNewPrivs):' /proc/self/status"
    )
    uid, gid, *rights = seen.split("\n", 2)
    assert (uid, gid) == ("10001", "10001")
    assert {int(line.split()[1], 16) for line in rights[0].splitlines()[:3]} == {0}
    assert "NoNewPrivs:\t1" in rights[0]
    refused = built_image.shell(
        "for at in / /tmp /opt/florin /run; do touch $at/file 2>&1 || :; done"
    )
    assert refused.count("Read-only file system") == 4
    # By name, in every directory: PATH is only where a shell would look.
    tools = "pip pip3 ensurepip gcc cc g++ clang ld as make cargo rustc uv setuptools"
    names = " -o ".join(f"-name {each}" for each in tools.split())
    assert (
        built_image.shell(f"find / -xdev \\( {names} \\) ! -path '/usr/share/*' 2>/dev/null || :")
        == ""
    )
    for python in ("python3", "/opt/florin/bin/python"):
        said = built_image.shell(
            f"{python} -m pip --version 2>&1 || :; {python} -m ensurepip 2>&1 || :"
        )
        assert said.count("No module named") == 2, said


def test_every_module_is_compiled_and_none_is_there_for_tests(built_image: Image) -> None:
    listed = built_image.shell("find /opt/florin/lib -name '*.py' -o -name '*.pyc'").splitlines()
    files = {Path(each) for each in listed}
    sources = {each for each in files if each.suffix == ".py"}
    compiled = {each.parent.parent / each.name.partition(".")[0] for each in files - sources}
    assert len(sources) > 1000
    assert {each.with_suffix("") for each in sources} - compiled == set()
    assert not {each.parts[6] for each in sources if len(each.parts) > 6} & NOT_IN_IMAGE


@pytest.mark.slow
async def test_the_api_serves_is_healthy_and_drains(image: Image, migrated: str) -> None:
    port = free_port()
    environ = {"DATABASE_URL": migrated, "FLORIN_PORT": str(port), "FLORIN_DRAIN_S": "2"}
    environ["FLORIN_OPERATIONS_PORT"] = str(free_port())
    merchant = image.run("demo-merchant", "--print", "--json", **environ)  # without a home
    demo = msgspec.json.decode(merchant.stdout)
    began = time.monotonic()
    with image.start(**environ) as container:  # the image's own default
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=NO_TLS) as http:
            await until(lambda: status_is(http, 200), within_s=WITHIN_S)
            after, used = time.monotonic() - began, container.cpu_s()
            print(f"\nready {after:.2f} s after docker run, with {used:.2f} s of processor time")
            # The time of the clock depends on what else runs here.
            assert 0 < used <= READY_CPU_MAX_S
            await until(lambda: container.health() == "healthy", within_s=WITHIN_S)
            print(f"healthy after {time.monotonic() - began:.2f} s")
            issued = await http.post(
                "/api/v1/cards",
                json={"program": demo["program"], "amount": 2500},
                headers={"authorization": f"Bearer {demo['api_key']}", "idempotency-key": "image"},
            )
            assert issued.status_code == 201, issued.text
            described = await http.get("/api/v1/openapi.json")
            assert described.json()["openapi"].startswith("3.1")  # without generators of examples
            assert container.exec("florin", "healthy").stdout == "The api is alive.\n"
            first = container.exec("cat", "/proc/1/cmdline").stdout.split("\0")
            assert first[:4] == ["/opt/florin/bin/python", "-P", "/opt/florin/bin/florin", "api"]

            container.signal("STOP")  # a process that hangs
            said = container.exec("florin", "healthy", fails=True).stderr
            container.signal("CONT")
            assert "the api does not answer at http://127.0.0.1:" in said

            container.signal("TERM")
            await until(lambda: status_is(http, 404), within_s=WITHIN_S)
            served = await http.get("/api/v1/openapi.json")  # what still arrives
            assert served.status_code == 200
        assert container.wait() == 0
        assert '"stopped"' in container.log()


@pytest.mark.slow
async def test_a_worker_is_healthy_and_ends_orderly(image: Image, migrated: str) -> None:
    environ = {"DATABASE_URL": migrated, "FLORIN_OPERATIONS_PORT": str(free_port())}
    began = time.monotonic()
    with image.start("worker", **environ) as container:
        await until(lambda: container.health() == "healthy", within_s=WITHIN_S)
        print(f"\nworker healthy {time.monotonic() - began:.2f} s after docker run")
        assert container.exec("florin", "healthy").stdout == "The worker is alive.\n"
        container.signal("STOP")
        await until(lambda: container.health() == "unhealthy", within_s=WITHIN_S)
        container.signal("CONT")
        await until(lambda: container.health() == "healthy", within_s=WITHIN_S)
        container.signal("TERM")
        assert container.wait() == 0


@pytest.mark.slow
async def test_an_operator_process_is_healthy_without_a_home(image: Image, migrated: str) -> None:
    environ = {"DATABASE_URL": migrated, "FLORIN_OPERATIONS_PORT": str(free_port())}
    with image.start("operator", **environ) as container:
        await until(lambda: container.health() == "healthy", within_s=WITHIN_S)
        container.signal("TERM")
        assert container.wait() == 0


@pytest.mark.slow
def test_the_bill_of_materials_names_what_the_image_holds(image: Image, tmp_path: Path) -> None:
    file = tmp_path / "sbom.json"
    image.engine.run(["deploy/ci/sbom.sh", image.tag, str(file)], within_s=600)
    written: Any = msgspec.json.decode(file.read_bytes())
    assert (written["bomFormat"], written["specVersion"]) == ("CycloneDX", "1.6")
    listed: set[str] = {each.get("purl", "") for each in written["components"]}
    python = {each.partition("?")[0] for each in listed if each.startswith("pkg:pypi/")}
    print(f"\n{len(python)} packages of Python in {len(listed)} components")
    lock = (CHECKOUT / "requirements" / "core.txt").read_text("utf-8")
    # Those with a condition are for other systems or versions of Python.
    wanted = dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+) \\$", lock, re.MULTILINE))
    assert len(wanted) > 40
    expected = {f"pkg:pypi/{n}@{v}" for n, v in wanted.items() if n not in NOT_IN_IMAGE}
    assert expected <= python
    assert not {name for name in NOT_IN_IMAGE if any(f"pypi/{name}@" in each for each in python)}
    assert any(each.startswith("pkg:deb/debian/ca-certificates@") for each in listed)


async def status_is(http: httpx.AsyncClient, status: int) -> bool:
    """Whether readiness is answered so; it may not be answered yet."""
    try:
        return (await http.get("/health/ready")).status_code == status
    except httpx.TransportError:
        return False
