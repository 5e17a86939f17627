"""URLs of servers: one host or several, IPv4 and IPv6."""

import pytest

from florin.kit.urls import split_url


@pytest.mark.parametrize(
    ("url", "netloc", "path", "query"),
    [
        ("redis+cluster://a:k@127.0.0.1,[fd00::1]:6379", "a:k@127.0.0.1,[fd00::1]:6379", "", ""),
        ("postgresql://a@[::1]:5,b:6/florin?x=1,2", "a@[::1]:5,b:6", "/florin", "x=1,2"),
        ("redis://[fd00::1]:6379/0", "[fd00::1]:6379", "/0", ""),
        ("unix:///run/valkey,1.sock?db=1", "", "/run/valkey,1.sock", "db=1"),
        ("no url", "", "no url", ""),
    ],
)
def test_several_hosts_are_kept_together(url: str, netloc: str, path: str, query: str) -> None:
    parts = split_url(url)
    assert (parts.netloc, parts.path, parts.query) == (netloc, path, query)


def test_user_and_password_of_several_hosts_are_found() -> None:
    parts = split_url("rediss+cluster://florin:k2@a,[fd00::1]:7")
    assert (parts.scheme, parts.username, parts.password) == ("rediss+cluster", "florin", "k2")


def test_a_host_with_an_open_bracket_is_no_url() -> None:
    with pytest.raises(ValueError, match="IPv6"):
        split_url("redis://[fd00::1:6379/0")
