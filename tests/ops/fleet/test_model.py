"""Model: what is stored of a fleet can be read by the releases before and after."""

import msgspec
import pytest

from florin.ops.fleet.model import Fleet, Part, decode_fleet, encode_fleet

API = Part(name="api-1", role="api", state="ready", release="a", address="127.0.0.1:1", pid=7)
WORKER = Part(name="worker-1", role="worker", state="ready", release="a")


def test_what_is_stored_is_read_as_it_was() -> None:
    fleet = Fleet(parts=(API, WORKER))
    assert decode_fleet(encode_fleet(fleet)) == fleet
    assert decode_fleet(b"{}") == Fleet()


@pytest.mark.parametrize(("field", "value"), [("role", "gift-wrapper"), ("state", "hibernating")])
def test_a_part_of_a_newer_release_hides_no_other_part(field: str, value: str) -> None:
    newer = msgspec.to_builtins(API) | {"name": "new-1", field: value, "colour": "green"}
    stored = {"parts": [newer, msgspec.to_builtins(API) | {"colour": "blue"}], "version": 9}
    assert decode_fleet(msgspec.json.encode(stored)) == Fleet(parts=(API,))


@pytest.mark.parametrize("text", [b"", b"{", b'{"parts": 1}', b"[]"])
def test_what_is_no_fleet_is_an_error(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_fleet(text)
