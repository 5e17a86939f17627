"""Texts: what the document says once for all routes."""

from typing import Any

Json = dict[str, Any]

INTRODUCTION = """\
Gift cards, exact to the cent. Bodies and answers are JSON; amounts are integers in the currency's
minor unit; ids carry their kind. What creates or moves money needs an `Idempotency-Key` of your own
making: repeated with the same key it still happens once. Every "no" is a problem document
(RFC 9457) with a stable `code`.

Whatever the route, a request whose headers exceed 16 KiB is refused with 431 `headers_too_large`,
one that takes too long to arrive with 408 `too_slow`, a method that an address does not answer with
405 `method_not_allowed`, a body with a Content-Encoding with 415 `unsupported_encoding`; 500
`internal_error` is a bug, and the log has it under the request id.
"""

SECURITY: Json = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key (`flk_…`) or an access token. The scopes that an operation needs"
        " stand beside it; a key has those it was made with, a member those of the role.",
    }
}

TAGS: dict[str, str] = {
    "auth": "Register a merchant, sign in and out, passwords and second factors.",
    "sessions": "Where you are signed in.",
    "merchant": "Your merchant, and what it asks of its members.",
    "audit": "Who administered what.",
    "api-keys": "Keys for programs, each with its scopes.",
    "members": "The people of a merchant and their roles.",
    "programs": "What cards of one kind have in common.",
    "cards": "Issue cards, look them up, change their state.",
    "redemptions": "Spend from cards.",
    "refunds": "Give a redemption back to its card.",
    "loads": "Add money to cards.",
    "transfers": "Move money between cards.",
    "adjustments": "Correct a balance by hand.",
    "holds": "Set money aside, and capture or free it later.",
    "entries": "Every movement on every card.",
    "ledger": "The books, at any instant, and their proof.",
    "events": "What happened, as it was then.",
    "queues": "What waits to be done, for operators.",
    "jobs": "Work that takes longer than a request.",
}

HEADERS: Json = {
    "X-Request-Id": {
        "description": "The request's id: yours if you sent one, else made for you.",
        "required": True,
        "schema": {"type": "string", "maxLength": 128},
        "example": "req_01a20e61e86a72b08a16934cc64c0c5c",
    },
    "Florin-Consistency": {
        "description": "How far the books were after this write; sent along with a read, the read"
        " is never older.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]+\\.[0-9a-f]+\\.[0-9a-f]{16}$"},
        "example": "1.3000148.5e0c9f0a71b2d384",
    },
    "Idempotency-Replayed": {
        "description": "`true` where this is the first answer again.",
        "schema": {"type": "string", "const": "true"},
        "example": "true",
    },
    "Retry-After": {
        "description": "Seconds to wait before trying again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
        "example": 1,
    },
    "WWW-Authenticate": {
        "description": "What is asked for.",
        "required": True,
        "schema": {"type": "string"},
        "example": "Bearer",
    },
}

PARAMETERS: Json = {
    "request_id": {
        "name": "X-Request-Id",
        "in": "header",
        "description": "An id of your own for this request, which answer and log then carry: at"
        " most 128 letters, digits and `._:-`. Any other is not taken over.",
        "schema": {"type": "string"},
        "example": "till-3-0001",
    },
    "consistency": {
        "name": "Florin-Consistency",
        "in": "header",
        "description": "From the answer to a write: this read is never older than that write.",
        "schema": {"type": "string"},
        "example": "1.3000148.5e0c9f0a71b2d384",
    },
}
