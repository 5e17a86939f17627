"""Forgeries: tokens that must be refused, derived from a valid token of the victim.

Most are signed with the real secret: they test not the signature but that a token has only one
accepted encoding. Attacks after RFC 8725, CVE-2015-9235, CVE-2016-5431, CVE-2018-0114,
CVE-2022-21449 and ASVS 9.
"""

import base64
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.support.instance import SECRETS

Json = dict[str, Any]
SECRET = SECRETS["JWT_SECRET"]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def packed(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def signed(header: bytes, payload: bytes, secret: str = SECRET, digest: str = "sha256") -> str:
    body = f"{b64(header)}.{b64(payload)}"
    return f"{body}.{b64(hmac.digest(secret.encode(), body.encode(), digest))}"


class Good:
    """A valid token and its parts."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.parts = token.split(".")
        self.header: Json = json.loads(unb64(self.parts[0]))
        self.claims: Json = json.loads(unb64(self.parts[1]))

    def with_header(self, **change: Any) -> str:
        return signed(packed({**self.header, **change}), packed(self.claims))

    def with_claims(self, **change: Any) -> str:
        return signed(packed(self.header), packed({**self.claims, **change}))

    def without(self, claim: str) -> str:
        rest = {name: value for name, value in self.claims.items() if name != claim}
        return signed(packed(self.header), packed(rest))

    def with_payload(self, payload: bytes) -> str:
        return signed(packed(self.header), payload)

    def with_raw_header(self, header: bytes) -> str:
        return signed(header, packed(self.claims))


def forgeries(token: str, refresh: str, challenge: str, other: Json) -> dict[str, str]:
    """Every forgery by its name; `other`: the claims of another merchant's owner."""
    good = Good(token)
    found: dict[str, str] = {}
    for make in (_algorithms, _headers, _times, _claims, _spellings):
        found |= dict(make(good))
    found |= {
        "another's merchant": good.with_claims(mer=other["mer"]),
        "another's member": good.with_claims(sub=other["sub"]),
        "another's session": good.with_claims(sid=other["sid"]),
        "another's member and session": good.with_claims(sub=other["sub"], sid=other["sid"]),
        "another's merchant and member": good.with_claims(mer=other["mer"], sub=other["sub"]),
        "refresh as access": refresh,
        "challenge as access": challenge,
        "refresh claims under the access secret": signed(
            packed(good.header), unb64(refresh.split(".")[1])
        ),
        "access claims under the refresh secret": signed(
            packed(good.header), packed(good.claims), SECRETS["JWT_REFRESH_SECRET"]
        ),
        "access claims under a pepper": signed(
            packed(good.header), packed(good.claims), SECRETS["FLORIN_KEY_PEPPER"]
        ),
    }
    return found


def _algorithms(good: Good) -> Iterator[tuple[str, str]]:
    claims = packed(good.claims)
    for none in ("none", "None", "NONE", "nOnE", ""):
        header = b64(packed({**good.header, "alg": none}))
        yield f"alg {none!r}, no signature", f"{header}.{b64(claims)}."
        yield f"alg {none!r}, the old signature", f"{header}.{b64(claims)}.{good.parts[2]}"
    yield "good header, no signature", f"{good.parts[0]}.{good.parts[1]}."
    for name, digest in (("HS384", "sha384"), ("HS512", "sha512")):
        yield name, signed(packed({**good.header, "alg": name}), claims, SECRET, digest)
        yield f"{name} called HS256", signed(packed(good.header), claims, SECRET, digest)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    yield "HMAC with a public key", signed(packed(good.header), claims, pem.decode())
    for name in ("RS256", "ES256", "EdDSA", "PS256", "HS1", "dir"):
        yield f"alg {name}", good.with_header(alg=name)
    curve = ec.generate_private_key(ec.SECP256R1())
    numbers = curve.public_key().public_numbers()
    jwk = {"kty": "EC", "crv": "P-256", "x": str(numbers.x), "y": str(numbers.y)}
    zero = b64(bytes(64))
    yield (
        "psychic signature",
        f"{b64(packed({**good.header, 'alg': 'ES256'}))}.{b64(claims)}.{zero}",
    )
    yield "own key in jwk", good.with_header(jwk=jwk)
    yield (
        "own symmetric key in jwk",
        signed(packed({**good.header, "jwk": {"kty": "oct", "k": b64(b"mine")}}), claims, "mine"),
    )
    yield "empty secret", signed(packed(good.header), claims, "")
    yield "secret 'secret'", signed(packed(good.header), claims, "secret")
    yield "the kid as the secret", signed(packed(good.header), claims, good.header["kid"])


def _headers(good: Good) -> Iterator[tuple[str, str]]:
    for kid in ("", "../../../../dev/null", "0' or '1'='1", "x\0", good.header["kid"].upper(), "0"):
        yield f"kid {kid!r}", good.with_header(kid=kid)
    yield (
        "kid of /dev/null, signed by nothing",
        signed(packed({**good.header, "kid": "/dev/null"}), packed(good.claims), ""),
    )
    yield "kid a list", good.with_header(kid=[good.header["kid"]])
    yield "kid null", good.with_header(kid=None)
    no_kid = {name: value for name, value in good.header.items() if name != "kid"}
    yield "no kid", good.with_raw_header(packed(no_kid))
    for typ in ("JWT", "AT+JWT", "at+jwt ", "rt+jwt", "mfa+jwt", "application/at+jwt", ""):
        yield f"typ {typ!r}", good.with_header(typ=typ)
    yield "no typ", good.with_raw_header(packed({"alg": "HS256", "kid": good.header["kid"]}))
    yield "crit", good.with_header(crit=["exp"])
    yield "b64 false", good.with_header(b64=False, crit=["b64"])
    yield "jku", good.with_header(jku="http://127.0.0.1:9/keys")
    yield "x5u", good.with_header(x5u="http://127.0.0.1:9/cert")
    yield "zip", good.with_header(zip="DEF")
    yield "cty JWT", good.with_header(cty="JWT")
    text = packed(good.header)
    yield "header with a space", good.with_raw_header(text.replace(b",", b", "))
    yield "alg twice", good.with_raw_header(text.replace(b"{", b'{"alg":"none",', 1))
    yield "header an array", good.with_raw_header(b"[" + text + b"]")
    yield "header no JSON", good.with_raw_header(b"HS256")
    yield "header of nothing", good.with_raw_header(b"")


def _times(good: Good) -> Iterator[tuple[str, str]]:
    now = int(time.time())
    yield "expired", good.with_claims(iat=now - 960, nbf=now - 960, exp=now - 60)
    yield "long expired", good.with_claims(iat=1, nbf=1, exp=901)
    yield "not yet", good.with_claims(iat=now + 120, nbf=now + 120, exp=now + 1020)
    yield "nbf in the future", good.with_claims(nbf=now + 600)
    yield "iat in the future", good.with_claims(iat=now + 600)
    yield "lives for ever", good.with_claims(exp=now + 10**9)
    yield "lives longer than it should", good.with_claims(exp=good.claims["exp"] + 1)
    for name, value in (
        ("text", str(good.claims["exp"])),
        ("a float", float(good.claims["exp"])),
        ("null", None),
        ("true", True),
        ("infinite", float("inf")),
        ("not a number", float("nan")),
        ("an array", [good.claims["exp"]]),
        ("huge", 10**400),
        ("negative", -1),
    ):
        yield f"exp {name}", good.with_claims(exp=value)


def _claims(good: Good) -> Iterator[tuple[str, str]]:
    for claim in good.claims:
        yield f"no {claim}", good.without(claim)
        yield f"{claim} null", good.with_claims(**{claim: None})
        yield f"{claim} an object", good.with_claims(**{claim: {"a": 1}})
    for issuer in ("Florin", "florin ", "https://florin", ["florin"]):
        yield f"iss {issuer!r}", good.with_claims(iss=issuer)
    for audience in ("florin", "FLORIN-API", ["florin-api"], ["florin-api", "other"], "*"):
        yield f"aud {audience!r}", good.with_claims(aud=audience)
    member = good.claims["sub"]
    for subject in (
        member.upper(),
        member.replace("usr_", "key_"),
        member + " ",
        member[4:],
        "usr_" + "0" * 32,
        "usr_" + "\uff10" * 32,  # full-width zeros are digits to some
        member.replace("u", "\u1d64", 1),
        "' or 1=1 --",
        "*",
    ):
        yield f"sub {subject!a}", good.with_claims(sub=subject)
    yield "role in the token", good.with_claims(role="owner")
    yield "scopes in the token", good.with_claims(scope="members:write")
    yield "one claim more", good.with_claims(admin=True)
    yield "claims of nothing", good.with_payload(b"{}")
    yield "claims an array", good.with_payload(b"[" + packed(good.claims) + b"]")
    yield "claims a string", good.with_payload(b'"florin"')
    yield "claims no JSON", good.with_payload(b"\xff\xfe")
    yield "claims nested", good.with_payload(b"[" * 800 + b"]" * 800)


def _spellings(good: Good) -> Iterator[tuple[str, str]]:
    header, payload, signature = good.parts
    text = packed(good.claims)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = letters.index(signature[-1])
    # The last symbol of 32 bytes has two bits to spare: four spellings, one of them ours.
    for spare in (1, 2, 3):
        yield (
            f"signature spelt otherwise {spare}",
            f"{header}.{payload}.{signature[:-1]}{letters[last ^ spare]}",
        )
    for place in (0, len(signature) // 2, -2):
        changed = list(signature)
        changed[place] = "A" if changed[place] != "A" else "B"
        yield f"signature changed at {place}", f"{header}.{payload}.{''.join(changed)}"
    changed = payload[:-3] + ("A" if payload[-3] != "A" else "B") + payload[-2:]
    yield "claims changed", f"{header}.{changed}.{signature}"
    yield "signature cut", f"{header}.{payload}.{signature[:20]}"
    yield "signature doubled", f"{header}.{payload}.{signature}{signature}"
    yield "signature padded", f"{good.token}="
    yield "one part more", f"{good.token}.{signature}"
    yield "two parts", f"{header}.{payload}"
    yield "one part", header
    yield "dots", ".."
    yield "five parts, as encrypted", f"{header}...{payload}.{signature}"
    yield "claim twice", good.with_payload(text[:-1] + b',"sub":"usr_' + b"0" * 32 + b'"}')
    twice = text.replace(b"{", b'{"exp":9999999999,', 1)
    yield "exp twice", good.with_payload(twice)
    yield "escaped claim name", good.with_payload(text.replace(b'"exp"', b'"\\u0065xp"'))
    yield "escaped value", good.with_payload(text.replace(b'"florin"', b'"\\u0066lorin"'))
    yield "white space", good.with_payload(text.replace(b":", b": ", 1))
    yield "byte order mark", good.with_payload(b"\xef\xbb\xbf" + text)
    yield "UTF-16", good.with_payload(text.decode().encode("utf-16"))
    yield "another order", good.with_payload(packed(dict(reversed(good.claims.items()))))
    yield "huge", good.with_claims(jti="x" * 3000)
    yield "huger", good.with_claims(jti="x" * 60_000)
    yield (
        "all in one JSON",
        b64(packed({"protected": header, "payload": payload, "signature": signature})),
    )
    yield "wrapped in a token", signed(packed(good.header), packed(good.token))
    yield "plus and slash", good.token.replace("-", "+").replace("_", "/") + "+/"
    yield "a space within", f"{header}.{payload[:10]} {payload[10:]}.{signature}"
