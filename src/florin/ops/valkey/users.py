"""Users: the Valkey users of the application, and of the supervisor and the servers themselves.

The application is the default user, so that its URL names none. It may use only the commands that
Florin sends, on its own keys and channels: its password does not suffice to read the settings or to
stop, empty or reconfigure the server.
"""

from hashlib import sha256

from florin.ops.fleet.secrets import Secrets

APPLICATION_SECRET = "VALKEY_PASSWORD"  # noqa: S105 - its name
OPERATOR_SECRET = "VALKEY_OPERATOR_PASSWORD"  # noqa: S105 - its name
OPERATOR = "florin-operator"
_CONNECT = "+ping +auth +client|setinfo"
_LIMITS = "+eval +time +get +set +del"
_CONSISTENCY = "+zadd +zcard +zmscore +zrange +zremrangebyscore"
_NOTIFICATIONS = "+publish +subscribe +unsubscribe"
# To find the master of a key; `command` returns which arguments of a command are keys.
_CLUSTER = "+cluster|slots +asking +command"
RIGHTS = (
    f"~florin:* &florin:* -@all {_CONNECT} {_LIMITS} {_CONSISTENCY} {_NOTIFICATIONS} {_CLUSTER}"
)
SENTINEL_RIGHTS = f"-@all {_CONNECT} +sentinel|masters"  # the master, and its state


def settings(secrets: Secrets, rights: str = RIGHTS) -> str:
    """Return the configuration lines that define both users."""
    application, operator = (
        sha256(secrets[name].encode()).hexdigest() for name in (APPLICATION_SECRET, OPERATOR_SECRET)
    )
    return (
        f"user default reset on #{application} {rights}\n"
        f"user {OPERATOR} reset on #{operator} ~* &* +@all\n"
    )


def wiring() -> str:
    """Return a hash of the rights: a server that was started with others is replaced."""
    return sha256(f"{RIGHTS} {SENTINEL_RIGHTS}".encode()).hexdigest()[:12]
