"""Settings: every invalid one is named, no secret is shown, and the documents match the code."""

import base64
import json
import random
import secrets
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from florin.kit import settings
from florin.kit.settings import (
    InvalidSettings,
    read_settings,
    reference,
    secret_strength,
    settings_advice,
)
from florin.kit.settings.validation import KEYS
from tests.support import s3_storage

CHECKOUT = Path(__file__).parents[3]
Environ = dict[str, str]


@pytest.fixture
def good() -> Environ:
    """The settings that production needs."""
    # Hexadecimal: of random letters, one in 10,000 contains a word such as dummy.
    made = {name: secrets.token_hex(32) for name in KEYS}
    return {"DATABASE_URL": "postgresql://florin_app:h7Kq2@db/florin?sslmode=verify-full"} | made


def mistakes(environ: Environ) -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        read_settings(environ)
    return caught.value.mistakes


def test_production_is_the_default_and_starts_with_good_secrets(good: Environ) -> None:
    assert read_settings(good).env == "production"


def test_sign_up_is_closed_in_production_by_default(good: Environ) -> None:
    """Sign-up, and unverified members without limits, only where a setting allows them."""
    for env, signup, verify, allowed in (
        (None, None, None, (False, True)),
        ("production", "open", "off", (True, False)),
        ("development", None, None, (True, False)),
        ("test", None, None, (True, False)),
        ("development", "closed", "required", (False, True)),
    ):
        given = {"FLORIN_ENV": env, "FLORIN_SIGNUP": signup, "FLORIN_VERIFY_EMAIL": verify}
        found = read_settings(
            good | {name: value for name, value in given.items() if value is not None}
        )
        assert (found.signup_open, found.needs_verified_email) == allowed


def test_all_invalid_settings_are_reported_together(good: Environ) -> None:
    environ = good | {
        "DATABASE_URL": "postgresql://florin_app@db/florin?connection_limit=abc",
        "JWT_SECRET": "short",
        "FLORIN_PORT": "80000",
        "FLORIN_LOG_LEVEL": "loud",
        "FLORIN_CORS_ORIGINS": "https://*.example.com",
        "FLORIN_TRUSTED_PROXIES": "10.0.0.0/99",
        "BACKUP_ACCESS_KEY_ID": "id",
        "FLORIN_SEAL_KEY_FILE": "/nonexistent",
    }
    del environ["JWT_REFRESH_SECRET"]
    found = [mistake.partition(":")[0] for mistake in mistakes(environ)]
    assert sorted(found) == [
        "BACKUP_SECRET_ACCESS_KEY",
        "DATABASE_URL",
        "FLORIN_CORS_ORIGINS",
        "FLORIN_LOG_LEVEL",
        "FLORIN_PORT",
        "FLORIN_SEAL_KEY_FILE",
        "FLORIN_TRUSTED_PROXIES",
        "JWT_REFRESH_SECRET",
        "JWT_SECRET",
    ]


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("DATABASE_URL", "mysql://db/florin", "postgresql://"),
        ("DATABASE_URL", "postgresql://a:p/w?x@db/florin", "%XX"),
        ("DATABASE_URL", "postgresql://db/florin?connection_limit=0", "connection_limit=0"),
        ("DATABASE_URL", "postgresql://db/florin?pool_timeout=soon", "pool_timeout=soon"),
        ("DATABASE_URL", "postgresql://db/florin?pool_timeout=nan", "pool_timeout=nan"),
        ("DATABASE_URL", "postgresql://db/florin?conection_limit=9", "connection_limit meant"),
        ("DATABASE_URL", "postgresql://db/florin?schema=public", "schema"),
        (
            "DATABASE_URL_REPLICA",
            "postgresql://a/f,postgresql://b/f?pool_timeout=x",
            "pool_timeout",
        ),
        ("REDIS_URL", "http://cache", "redis://"),
        ("REDIS_URL", "redis://[fd00::1:6379", "is no URL"),
        ("FLORIN_PUBLIC_URL", "cards.example.com", "https://"),
        ("FLORIN_PUBLIC_URL", "http://cards.example.com", "https://"),
        ("FLORIN_CORS_ORIGINS", "*", "https://"),
        ("FLORIN_CORS_ORIGINS", "https://a.example/path", "origin"),
        ("FLORIN_PORT", "tcp://10.0.0.1:8000", "enableServiceLinks"),
        ("FLORIN_SECRETS_FROM", "safe:1", "pattern"),
    ],
)
def test_an_invalid_setting_names_its_variable(
    good: Environ, variable: str, value: str, message: str
) -> None:
    (mistake,) = mistakes(good | {variable: value})
    assert mistake.startswith(f"{variable}: ")
    assert message in mistake


@pytest.mark.parametrize(
    "weak",
    [
        "change-me-change-me-please-change-me-1",
        "your_jwt_secret_goes_here_0123456789ab",
        "a" * 64,
        "0123456789abcdef" * 3,
        "abcdefghijklmnopqrstuvwxyz0123456789",
        "ababbbabaabbabababbbabaabbbabababbabaa",
    ],
)
def test_production_refuses_weak_secrets(good: Environ, weak: str) -> None:
    for name in KEYS:
        (mistake,) = mistakes(good | {name: weak})
        assert mistake.startswith(f"{name}: ")
    assert (
        read_settings(good | {"JWT_SECRET": weak, "FLORIN_ENV": "development"}).env == "development"
    )


def test_no_random_secret_counts_as_weak() -> None:
    # The same secrets each time: one in half a million does look like a placeholder.
    dice = random.Random(7)
    for _ in range(2000):
        for made in (
            dice.randbytes(16).hex(),
            base64.urlsafe_b64encode(dice.randbytes(32)).decode().rstrip("="),
        ):
            assert secret_strength.weakness_reason(made) is None, made


def test_a_secret_used_twice_is_refused(good: Environ) -> None:
    same = good | {"FLORIN_KEY_PEPPER": good["JWT_SECRET"]}
    (mistake,) = mistakes(same)
    assert mistake.startswith("FLORIN_KEY_PEPPER: is the same as JWT_SECRET")


@pytest.mark.parametrize("password", ["postgres", "password", "florin_app", "changeme"])
def test_production_refuses_common_passwords(good: Environ, password: str) -> None:
    url = f"postgresql://florin_app:{password}@db/florin"
    (mistake,) = mistakes(good | {"DATABASE_URL": url})
    assert "default password" in mistake


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("DATABASE_URL_PRIMARY", "postgresql://florin_app:secret@db/florin", "default password"),
        (
            "DATABASE_URL_REPLICA",
            "postgresql://app:h7Kq2@a/florin,postgresql://app:postgres@b/florin",
            "default password",
        ),
        (
            "DATABASE_URL_OWNER",
            "postgresql://florin_owner:florin_owner@db/florin",
            "default password",
        ),
        ("REDIS_URL", "rediss://florin:changeme@cache:6379/0", "default password"),
    ],
)
def test_production_refuses_default_passwords_in_urls(
    good: Environ, variable: str, value: str, message: str
) -> None:
    found = mistakes(good | {variable: value})
    assert [mistake.partition(":")[0] for mistake in found] == [variable]
    assert message in found[0]
    assert value not in found[0]


@pytest.mark.parametrize("name", KEYS)
def test_production_refuses_a_missing_and_a_short_secret(good: Environ, name: str) -> None:
    short = good[name][:31]
    missing = {key: value for key, value in good.items() if key != name}
    for environ, message in (
        (good | {name: short}, "shorter than 32"),
        (good | {name: ""}, "is missing"),
        (missing, "is missing"),
    ):
        (mistake,) = mistakes(environ)
        assert mistake.startswith(f"{name}: ")
        assert message in mistake


def test_secrets_are_read_from_files(good: Environ, tmp_path: Path) -> None:
    place = tmp_path / "jwt"
    place.write_text(good.pop("JWT_SECRET") + "\n", "utf-8")
    environ = good | {"JWT_SECRET_FILE": str(place)}
    assert read_settings(environ).jwt_secret.get_secret_value() == place.read_text("utf-8").strip()
    place.write_bytes(b"\n")
    assert mistakes(environ) == [f"JWT_SECRET_FILE: is empty: {place}"]
    place.write_bytes(b"\xff" * 40)
    assert mistakes(environ) == [f"JWT_SECRET_FILE: is not text: {place}"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("FLORIN_TRUSTED_PROXIES", "0.0.0.0/0", "0.0.0.0/0 is too wide"),
        ("FLORIN_TRUSTED_PROXIES", "10.0.0.0/8, ::/0", "::/0 is too wide"),
        ("FLORIN_TRUSTED_PROXIES", "128.0.0.0/1", "128.0.0.0/1 is too wide"),
        ("REDIS_URL", "rediss://cache:6379/0", "has no password, and cache is another host"),
        ("REDIS_URL", "rediss://florin@cache", "has no password, and cache is another host"),
        ("REDIS_URL", "redis://:k2Hq9x@cache:6379/0", "is without TLS, and cache is another host"),
        ("REDIS_URL", "redis+cluster://a:k2Hq9x@127.0.0.1,[fd00::1]:6379", "is without TLS"),
        ("REDIS_URL", "redis+sentinel://a:k2Hq9x@127.0.0.1,b:26379/m", "is without TLS, and b is"),
        (
            "REDIS_URL",
            "rediss://:k2Hq9x@cache?ssl_cert_reqs=none",
            "certificate of cache is not verified",
        ),
        *(
            (name, f"postgresql://a:k2Hq9x@{where}sslmode={mode}", f"has sslmode={mode}, and db is")
            for name in ("DATABASE_URL", "DATABASE_URL_PRIMARY", "DATABASE_URL_OWNER")
            for where in ("db/florin?", "127.0.0.1,db:5432/florin?", "/florin?host=db&")
            for mode in ("disable", "allow")
        ),
        (
            "DATABASE_URL_REPLICA",
            "postgresql://a:k@127.0.0.1/florin?sslmode=disable,postgresql://a:k@db/florin?sslmode=disable",
            "has sslmode=disable, and db is",
        ),
    ],
)
def test_production_refuses_unencrypted_connections_to_other_hosts(
    good: Environ, name: str, value: str, message: str
) -> None:
    found = mistakes(good | {name: value})
    assert any(each.startswith(f"{name}: ") and message in each for each in found), found
    assert not any("k2Hq9x" in each for each in found)
    assert read_settings(good | {name: value, "FLORIN_ENV": "test"})


def test_unencrypted_connections_are_reported_together(good: Environ) -> None:
    bad = {
        "FLORIN_TRUSTED_PROXIES": "0.0.0.0/0,::/0",
        "REDIS_URL": "redis://cache",
        "DATABASE_URL": "postgresql://florin_app:h7Kq2@db/florin?sslmode=disable",
    }
    assert len(mistakes(good | bad)) == 5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FLORIN_TRUSTED_PROXIES", "10.0.0.0/8,fc00::/7,2001:db8::/32,192.0.2.7"),
        ("REDIS_URL", "redis://127.0.0.1:6379/0"),
        ("REDIS_URL", "redis+sentinel://:k@localhost:26379,[::1]:26379/m"),
        ("REDIS_URL", "unix:///run/valkey.sock"),
        ("REDIS_URL", "rediss+cluster://a:k2Hq9x@a:6379,b:6379?ssl_ca_certs=/ca.pem"),
        ("DATABASE_URL", "postgresql://florin_app:h7Kq2@127.0.0.1:5432/florin?sslmode=disable"),
        ("DATABASE_URL", "postgresql://florin_app@/florin?host=/run/postgresql&sslmode=disable"),
    ],
)
def test_connections_on_this_machine_may_be_unencrypted(
    good: Environ, name: str, value: str
) -> None:
    assert read_settings(good | {name: value})


def test_misspelt_variables_are_reported(good: Environ) -> None:
    assert settings_advice(good | {"FLORIN_SINGUP": "closed", "REDIS_URL": "redis://cache"}) == [
        "FLORIN_SINGUP: Florin reads no such variable; is FLORIN_SIGNUP meant?",
        "FLORIN_PUBLIC_URL: is missing; responses have no HSTS",
    ]
    good["JWT_SECERT"] = good.pop("JWT_SECRET")
    assert mistakes(good) == ["JWT_SECRET: is missing; JWT_SECERT is set: is JWT_SECRET meant?"]


def test_no_secret_is_shown(good: Environ) -> None:
    canary = "k4n4rY-0nly-here"
    secret = [
        name
        for name, field in settings.Settings.model_fields.items()
        if "SecretStr" in repr(field.annotation) + repr(field.metadata)
    ]
    assert len(secret) > 12
    shown = repr(read_settings(good)) + str(read_settings(good).model_dump())
    assert not any(value in shown for value in good.values() if value != good["DATABASE_URL"])
    assert "h7Kq2" not in shown
    for field in secret:
        name = str(settings.Settings.model_fields[field].validation_alias)
        for value in (canary, f"postgresql://u:{canary}@h:1x/f?connection_limit=z"):
            try:
                shown = repr(read_settings(good | {name: value}))
            except InvalidSettings as wrong:
                shown = str(wrong)
            assert canary not in shown, name


def test_the_settings_pages_match_the_code() -> None:
    for kind, place in (("page", "docs/operations/settings.md"), ("example", ".env.example")):
        kept = (CHECKOUT / place).read_text("utf-8")
        assert kept == reference.render_reference("page" if kind == "page" else "example"), (
            f"bin/florin doctor config --show {kind} > {place}"
        )


def test_the_example_is_valid_once_its_blanks_are_filled(good: Environ) -> None:
    lines = reference.render_reference("example").splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert [name for name, value in given.items() if not value] == list(KEYS)
    assert read_settings(given | {name: good[name] for name in KEYS}).env == "production"
    everything = dict(
        line.removeprefix("#").split("=", 1) for line in lines if line and not line.startswith("# ")
    )
    assert set(everything) == set(settings.variable_names())


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of AWS Secrets Manager, as moto's server speaks it."""
    with s3_storage.storage() as stored:
        for name, value in {
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": stored.endpoint,
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_MAX_ATTEMPTS": "1",
            "NO_PROXY": "127.0.0.1",
        }.items():
            monkeypatch.setenv(name, value)
        boto3: Any = import_module("boto3")  # it has no type information
        yield boto3.client("secretsmanager")


def test_aws_secrets_manager_supplies_missing_settings(good: Environ, aws: Any) -> None:
    held = good | {"FLORIN_CORS_ORIGINS": "https://a.example,https://b.example"}
    aws.create_secret(Name="prod/florin", SecretString=json.dumps(held))
    found = read_settings(
        {"FLORIN_SECRETS_FROM": "aws:prod/florin", "JWT_SECRET": (own := "Z9" + good["JWT_SECRET"])}
    )
    assert found.jwt_secret.get_secret_value() == own
    assert found.seal_key.get_secret_value() == good["FLORIN_SEAL_KEY"]
    assert found.cors_origins == ("https://a.example", "https://b.example")
    rotated = "Y8" + good["FLORIN_KEY_PEPPER"]
    aws.put_secret_value(
        SecretId="prod/florin", SecretString=json.dumps(held | {"FLORIN_KEY_PEPPER": rotated})
    )
    again = read_settings({"FLORIN_SECRETS_FROM": "aws:prod/florin"})
    assert again.key_pepper.get_secret_value() == rotated
    assert mistakes(good | {"FLORIN_SECRETS_FROM": "aws:prod/other"}) == [
        "FLORIN_SECRETS_FROM: aws:prod/other cannot be read (ResourceNotFoundException)"
    ]


@pytest.mark.parametrize("name", settings.variable_names())
def test_every_variable_can_be_a_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "value").write_text("of the file\n", "utf-8")
    given = {f"{name}_FILE": str(tmp_path / "value"), name: "of the environment"}
    assert settings.read_variable(name, given) == "of the file"
    (tmp_path / "value").unlink()
    with pytest.raises(InvalidSettings, match=f"{name}_FILE: No such file"):
        settings.read_variable(name, given)


def test_a_missing_package_of_a_secrets_manager_is_named(good: Environ) -> None:
    for cloud in ("gcp", "azure"):
        (mistake,) = mistakes(good | {"FLORIN_SECRETS_FROM": f"{cloud}:https://somewhere"})
        assert f"pip install 'florin[{cloud}]'" in mistake
