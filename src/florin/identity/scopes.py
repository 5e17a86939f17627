"""Scopes: the permissions of API keys, and the scopes of each role."""

SCOPES: frozenset[str] = frozenset(
    {
        "cards:read",
        "cards:write",
        "cards:spend-by-id",  # without code and PIN; needs redemptions:write too
        "clients:name",  # name the client whose wrong codes are counted: docs/concepts/codes.md
        "redemptions:read",
        "redemptions:write",
        "programs:read",
        "programs:write",
        "orders:read",
        "orders:write",
        "reports:read",
        "payouts:write",  # of an operator: commissions and payouts of the merchants it collects for
        "events:read",
        "deliveries:read",
        "deliveries:write",
        "webhooks:read",
        "webhooks:write",
        "keys:write",
        "members:read",
        "members:write",
        "audit:read",
        "queues:read",
    }
)

ROLES: dict[str, frozenset[str]] = {
    "owner": SCOPES,
    "manager": SCOPES
    - {"clients:name", "keys:write", "members:write", "queues:read", "payouts:write"},
    "cashier": frozenset({"cards:read", "redemptions:read", "redemptions:write", "programs:read"}),
    "viewer": frozenset(scope for scope in SCOPES if scope.endswith(":read"))
    - {"members:read", "audit:read", "queues:read"},
}
