"""A certificate near its end: the alert arrives, and resolves once it is replaced."""

import shutil
from pathlib import Path

import pytest

from tests.journeys.alerts.watched_fleet import watched_fleet
from tests.support import certificate

WITHIN_S = 180.0


def put(days: int, folder: Path, into: Path) -> None:
    """Replace the certificate and its key, as a renewal does."""
    made = certificate.make(folder, "cards.test", days=days)
    for path in (made.certificate, made.key):
        new = into / f"{path.name}.new"
        shutil.copy(path, new)
        new.rename(into / path.name)


@pytest.mark.long_form("alerts")
def test_a_certificate_near_its_end(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    used = tmp_path_factory.mktemp("certificate")
    put(90, tmp_path, used)
    words = ("--tls-cert", str(used / "certificate.pem"), "--tls-key", str(used / "key.pem"))
    with watched_fleet(tmp_path_factory.mktemp("alerts"), "--replicas", "0", *words) as watched:
        watched.wait_until_quiet()
        put(10, tmp_path, used)
        watched.chat.wait_for("] CertificateEnds:", WITHIN_S)
        mail = watched.mail.wait_for("] CertificateEnds:", WITHIN_S)
        assert "docs/operations/runbooks/certificate-expires.md" in mail.text
        assert not watched.pager.incidents
        put(90, tmp_path, used)
        watched.chat.wait_for("Resolved: CertificateEnds:", WITHIN_S)
