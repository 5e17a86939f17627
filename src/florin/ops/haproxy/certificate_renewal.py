"""Certificate renewal: load a certificate that was replaced on disk; no connection breaks."""

from pathlib import Path

from florin.ops.haproxy.balancer import Balancer
from florin.ops.system.console import OperatorError, say


class CertificateRenewal:
    """Watches the files of the certificate and its key and loads them after a change."""

    def __init__(self, balancer: Balancer, pair: tuple[Path, Path] | None) -> None:
        self._balancer = balancer
        self._pair = pair
        self._used = self._stamp()

    async def reload_if_changed(self) -> None:
        """Load the files into the balancer when they changed and match each other."""
        stamp = self._stamp()
        if self._pair is None or stamp == self._used:
            return
        self._used = stamp
        try:
            await self._balancer.replace_certificate(*self._pair)
        except OperatorError as error:
            # Possibly only one of the two files is written yet: the other changes the stamp again.
            say(f"The certificate was not replaced: {error}")
        else:
            say("The certificate was replaced.")

    def _stamp(self) -> tuple[tuple[int, int], ...]:
        if self._pair is None:
            return ()
        try:
            stats = [path.stat() for path in self._pair]
        except OSError:
            return ()
        return tuple((stat.st_mtime_ns, stat.st_ino) for stat in stats)
