"""Texts: the parts of the document that all routes share."""

from typing import Any

Json = dict[str, Any]

INTRODUCTION = """\
Gift cards, exact to the cent. Requests and responses are JSON; amounts are integers in the
currency's minor unit; the prefix of an id names its kind. Requests that create objects or move
money need an `Idempotency-Key` that you choose: a request that is repeated with the same key
happens once. Every refusal is a problem document (RFC 9457) with a stable `code`.

On every route, a request whose headers exceed 16 KiB is refused with 431 `headers_too_large`, one
that takes too long to arrive with 408 `too_slow`, an unsupported method with 405
`method_not_allowed`, a body with a Content-Encoding with 415 `unsupported_encoding`; 500
`internal_error` is a bug in Florin; its log has the details under the request id.
"""

SECURITY: Json = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key (`flk_…`) or an access token. Each operation lists the"
        " scopes it requires. A key has the scopes it was created with, a member those of the"
        " role.",
    }
}

TAGS: dict[str, str] = {
    "auth": "Register a merchant, sign in and out, passwords and second factors.",
    "sessions": "The sessions in which you are signed in.",
    "merchant": "Your merchant, and its requirements for members.",
    "audit": "The log of administrative changes.",
    "api-keys": "API keys with their scopes.",
    "members": "The members of a merchant and their roles.",
    "programs": "The rules of a kind of card.",
    "cards": "Issue cards, look them up, change their state.",
    "deliveries": "What is sent to people: cards, reminders, the e-mail of accounts.",
    "suppressions": "Addresses that get no gifts and reminders, after a bounce or a complaint.",
    "redemptions": "Spend from cards.",
    "refunds": "Return the money of a redemption to its card.",
    "loads": "Add money to cards.",
    "transfers": "Move money between cards.",
    "adjustments": "Correct a balance by hand.",
    "cash-outs": "Small balances paid to holders in cash.",
    "holds": "Reserve money, and capture or void the hold later.",
    "entries": "All entries of all cards.",
    "people": "What is stored of a person.",
    "reports": "Files for bookkeeping, and what gateways collected, kept and returned.",
    "ledger": "The balances of the ledger at any instant, and the ledger's proof.",
    "events": "Events, as they were when they happened.",
    "orders": "Sell cards: place orders, refund them, cancel them.",
    "payments": "Attempts to pay orders.",
    "payment-refunds": "Money returned to buyers.",
    "disputes": "Payments that buyers dispute.",
    "gateways": "Your own accounts at payment gateways.",
    "hooks": "Where gateways and mail servers send webhooks.",
    "test-gateway": "The dashboard of Florin's own gateway; never in production.",
    "webhook-endpoints": "Where events are sent, as Standard Webhooks.",
    "webhook-deliveries": "Events on their way to endpoints, with every attempt.",
    "test-clock": "The time of a test merchant.",
    "commission-rates": "What an operator that collects for many merchants keeps of sales.",
    "settlement-balances": "What such an operator owes to merchants.",
    "payout-batches": "Payouts that were made together, with a file for the bank.",
    "payouts": "Money that an operator paid to merchants.",
    "queues": "The state of the job queues, for operators.",
    "jobs": "Jobs: work that takes longer than a request.",
}

HEADERS: Json = {
    "X-Request-Id": {
        "description": "The request's id: the one you sent, or else a new one.",
        "required": True,
        "schema": {"type": "string", "maxLength": 128},
        "example": "req_01a20e61e86a72b08a16934cc64c0c5c",
    },
    "Florin-Consistency": {
        "description": "The ledger's position after this write; a read with this header is never"
        " older than the write.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]+\\.[0-9a-f]+\\.[0-9a-f]{16}$"},
        "example": "1.3000148.5e0c9f0a71b2d384",
    },
    "Idempotency-Replayed": {
        "description": "`true` if this repeats the first response for the same key.",
        "schema": {"type": "string", "const": "true"},
        "example": "true",
    },
    "Retry-After": {
        "description": "Seconds to wait before repeating the request.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
        "example": 1,
    },
    "WWW-Authenticate": {
        "description": "The required authentication scheme.",
        "required": True,
        "schema": {"type": "string"},
        "example": "Bearer",
    },
}

PARAMETERS: Json = {
    "request_id": {
        "name": "X-Request-Id",
        "in": "header",
        "description": "Your own id for this request, which the response and the log repeat: at"
        " most 128 letters, digits and `._:-`. Any other value is ignored.",
        "schema": {"type": "string"},
        "example": "till-3-0001",
    },
    "consistency": {
        "name": "Florin-Consistency",
        "in": "header",
        "description": "The value from the response to a write: this read is never older than that"
        " write.",
        "schema": {"type": "string"},
        "example": "1.3000148.5e0c9f0a71b2d384",
    },
}
