"""What never becomes a call: counted, and told in the log, a line a second for each reason."""

from collections import defaultdict

import trio

from service import logs
from service.plain import plain
from service.tally import NOWHERE, Refusal, Tally, TlsFailure

_log = logs.get(__name__)

#: One log line in so many seconds for refusals of one kind; a storm of them is counted.
_LOG_SECONDS = 1


class Refusals:
    """Notes upgrades and connections that were refused, and TLS handshakes that failed.

    `message` may have a stranger's text in it; `caller` is what is known of the stranger, by name.
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._lines = defaultdict[tuple[str, str], logs.Sparse](lambda: logs.Sparse(_LOG_SECONDS))

    def upgrade(self, reason: Refusal, message: str, dialect: str = NOWHERE, **caller: str) -> None:
        """Note that an upgrade was refused."""
        self._tally.refused[dialect, reason] += 1
        self._tell("upgrade_refused", reason.value, message, {"dialect": dialect, **caller})

    def connection(self, reason: Refusal, message: str, **caller: str) -> None:
        """Note that a connection was refused before its first request."""
        self._tally.refused[NOWHERE, reason] += 1
        self._tell("connection_refused", reason.value, message, caller)

    def tls(self, reason: TlsFailure, message: str, **caller: str) -> None:
        """Note that a TLS handshake failed."""
        self._tally.tls_failures[reason] += 1
        self._tell("tls_handshake_failed", reason.value, message, caller)

    def _tell(self, event: str, reason: str, message: str, caller: dict[str, str]) -> None:
        left_out = self._lines[event, reason].passes(trio.current_time())
        if left_out is not None:
            _log.warning(event, reason=reason, message=plain(message), **caller, left_out=left_out)
