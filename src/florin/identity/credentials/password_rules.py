"""Password rules: new passwords that an attacker tries first are refused.

Length counts, not the mix of characters (NIST SP 800-63B, 3.1.1.2; OWASP ASVS 5, 6.2). Refused are
common passwords, a common word or the own e-mail address with digits or signs around it, one part
again and again, and a run such as 1234567890. The list's sources and licences are named next to it.
"""

import gzip
import unicodedata
from functools import cache
from importlib.resources import files

from florin.kit.errors import InvalidRequest

_LIST = "common_passwords.txt.gz"
_RUNS = "1234567890 abcdefghijklmnopqrstuvwxyz qwertyuiop asdfghjkl zxcvbnm"


def check_password(password: str, *, email: str | None = None) -> None:
    """Raises InvalidRequest for a new password that is too easily guessed."""
    why = weakness(password, email)
    if why is not None:
        raise InvalidRequest(
            f"this password {why}; several words that do not belong together are a good one",
            param="password",
        )


def weakness(password: str, email: str | None = None) -> str | None:
    """What is wrong with a password; None where nothing is."""
    plain = unicodedata.normalize("NFKC", password).casefold()
    core = plain.strip("".join({each for each in plain if not each.isalpha()}))
    if plain in _common() or core in _common():
        return "is one of the most common ones"
    if email is not None and {plain, core} & {email.casefold(), email.casefold().split("@")[0]}:
        return "is the e-mail address"
    if plain in (plain + plain)[1:-1]:  # only what repeats is found within its double
        return "repeats one part"
    if any(plain in _repeated(run) for run in (*_RUNS.split(), *_RUNS[::-1].split())):
        return "is a run of characters"
    return None


def _repeated(run: str) -> str:
    """Long enough for every password that goes on after its end."""
    return run * 20


@cache
def _common() -> frozenset[str]:
    packed = files("florin.identity.credentials").joinpath(_LIST).read_bytes()
    return frozenset(gzip.decompress(packed).decode("ascii").split())
