"""Password rules: refuse new passwords that an attacker tries first.

Length counts, not the mix of characters (NIST SP 800-63B, 3.1.1.2; OWASP ASVS 5, 6.2). Refused are
common passwords, a common word or the user's e-mail address with digits or signs around it, a
repeated part, and a sequence such as 1234567890. The sources and licences of the list are in
common_passwords.LICENSE.txt.
"""

import gzip
import unicodedata
from functools import cache
from importlib.resources import files

from florin.kit.errors import InvalidRequest

_LIST = "common_passwords.txt.gz"
_RUNS = "1234567890 abcdefghijklmnopqrstuvwxyz qwertyuiop asdfghjkl zxcvbnm"


def check_password(password: str, *, email: str | None = None) -> None:
    """Raises InvalidRequest for a new password that is easy to guess."""
    why = weakness(password, email)
    if why is not None:
        raise InvalidRequest(
            f"The password {why}; choose for example several unrelated words",
            param="password",
        )


def weakness(password: str, email: str | None = None) -> str | None:
    """The reason to refuse a password; None if there is none."""
    plain = unicodedata.normalize("NFKC", password).casefold()
    core = plain.strip("".join({each for each in plain if not each.isalpha()}))
    if plain in _common() or core in _common():
        return "is one of the most common ones"
    if email is not None and {plain, core} & {email.casefold(), email.casefold().split("@")[0]}:
        return "is the e-mail address"
    if plain in (plain + plain)[1:-1]:  # only a repetition occurs inside its own double
        return "repeats one part"
    if any(plain in _repeated(run) for run in (*_RUNS.split(), *_RUNS[::-1].split())):
        return "is a sequence of characters"
    return None


def _repeated(run: str) -> str:
    """Long enough for passwords that start over at the end of the sequence."""
    return run * 20


@cache
def _common() -> frozenset[str]:
    packed = files("florin.identity.credentials").joinpath(_LIST).read_bytes()
    return frozenset(gzip.decompress(packed).decode("ascii").split())
