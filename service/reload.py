"""Files that change while the service runs: tokens, secrets, and the certificate with its key.

A changed file is taken without a restart, for the calls and the connections from then on. A file
that is wrong changes nothing: the service goes on with what it has, and says so.

The files are looked at every LOOK_SECONDS. To look follows links, so the swap of a Kubernetes
volume is seen. A change counts once two looks have found the same: a file that is being written,
or a certificate ahead of its key, is left alone until it is complete. Looking and reading have a
thread: a disk that does not answer delays the reload, and nothing else.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import trio

from service import logs
from service.calls.roster import Place, Roster
from service.config import ConfigurationError, Settings
from service.ending import REVOKED
from service.net.certificate import Certificate, read_certificate
from service.net.connection import Shared
from service.tally import Tally
from service.web.access import Access, Tokens, read_tokens
from service.web.secrets import read_secrets, watched
from service.web.vouching import NO_SECRETS, Vouching

_log = logs.get(__name__)

#: How often the files are looked at, in seconds.
LOOK_SECONDS = 2.0

#: What tells one state of a file from another; None for a file that cannot be looked at.
Mark = tuple[int, ...] | None
Value = TypeVar("Value")


class Source(Generic[Value]):
    """Files that are read together, and the `value` of when they were right last.

    `read` raises ConfigurationError if one of them is wrong, and so does the constructor. `wrong`
    is what was wrong when they were read last.
    """

    def __init__(self, paths: tuple[Path, ...], read: Callable[[], Value]) -> None:
        self._paths, self._read = paths, read
        # Before they are read: a change meanwhile is then seen at the first look.
        self._taken = self._seen = self._marks()
        self.value = read()
        self.wrong: ConfigurationError | None = None

    def look(self, at_once: bool) -> bool:
        """Read the files if they have changed for good, or if `at_once`; return whether it did."""
        before, self._seen = self._seen, self._marks()
        if not at_once and (self._seen == self._taken or self._seen != before):
            return False
        self._taken = self._seen
        try:
            value, wrong = self._read(), None
        except ConfigurationError as error:
            value, wrong = self.value, error
        if self._marks() != self._seen:
            self._taken = []  # They have changed meanwhile; the next looks find out.
            return False
        self.value, self.wrong = value, wrong
        return True

    def _marks(self) -> list[Mark]:
        return [_mark(path) for path in self._paths]


def _mark(path: Path) -> Mark:
    try:
        state = path.stat()
    except OSError:
        return None
    # A new owner or mode, which can make a file readable, is seen in st_ctime_ns only.
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


class Files:
    """The files of a service, read as it starts; None where a setting names none.

    Raises ConfigurationError if one is wrong.
    """

    def __init__(self, settings: Settings) -> None:
        tokens, cert, key = settings.tokens_file, settings.tls_cert_file, settings.tls_key_file
        self.tokens: Source[Tokens] | None = None
        self.secrets: Source[Vouching] | None = None
        self.certificate: Source[Certificate] | None = None
        if tokens is not None:
            self.tokens = Source((tokens,), partial(read_tokens, tokens))
        if settings.secrets_dir is not None:
            read = partial(self._read_secrets, settings.secrets_dir, settings.public_url)
            self.secrets = Source(watched(settings.secrets_dir), read)
        if cert is not None and key is not None:
            self.certificate = Source((cert, key), partial(read_certificate, cert, key))

    def access(self, settings: Settings) -> Access:
        """Return the rule for who may connect, by what is in the files now."""
        return Access(
            settings.allowed_origins,
            None if self.tokens is None else self.tokens.value,
            NO_SECRETS if self.secrets is None else self.secrets.value,
        )

    def _read_secrets(self, folder: Path, public_url: str | None) -> Vouching:
        kept = () if self.secrets is None else self.secrets.value.dialects
        return read_secrets(folder, public_url, kept)


class Reload:
    """Gives the running service what is in its files; `end_revoked` as in the settings."""

    def __init__(
        self,
        files: Files,
        access: Access,
        roster: Roster,
        shared: Shared,
        tally: Tally,
        *,
        end_revoked: bool,
    ) -> None:
        self._access, self._roster, self._shared, self._tally = access, roster, shared, tally
        self._end_revoked = end_revoked
        self._asked = trio.Event()
        # Handlers may have all the threads of Trio's own limiter, for as long as they like.
        self._thread = trio.CapacityLimiter(1)
        self._failing: set[Source[Any]] = set()
        self._sources: list[tuple[Source[Any], Callable[[Any], Awaitable[dict[str, object]]]]] = []
        if files.tokens is not None:
            self._sources.append((files.tokens, self._take_tokens))
        if files.secrets is not None:
            self._sources.append((files.secrets, self._take_secrets))
        if files.certificate is not None:
            self._sources.append((files.certificate, self._take_certificate))
            tally.certificate_expires = files.certificate.value.expires

    def ask(self) -> None:
        """Have `watch` read all files now, changed or not."""
        self._asked.set()

    async def watch(self) -> None:
        """Take what changes in the files, until cancelled."""
        while True:
            with trio.move_on_after(LOOK_SECONDS):
                await self._asked.wait()
            at_once = self._asked.is_set()
            if at_once:
                self._asked = trio.Event()
            await self.look(at_once)

    async def look(self, at_once: bool = False) -> None:
        """Look at the files once; take what has changed for good, or all if `at_once`."""
        for source, take in self._sources:
            try:
                if not await trio.to_thread.run_sync(
                    source.look, at_once, abandon_on_cancel=True, limiter=self._thread
                ):
                    continue
                if source.wrong is not None:
                    _log.error("reload_failed", message=f"{source.wrong}; the old one stays")
                    self._note(source, "failed")
                else:
                    _log.info("reloaded", **await take(source.value))
                    self._note(source, "ok")
            except Exception:  # a bug here must not cost a call
                _log.exception("reload_failed")
                self._note(source, "failed")

    def _note(self, source: Source[Any], outcome: str) -> None:
        self._tally.reloads[outcome] += 1
        self._failing.discard(source)
        if outcome == "failed":
            self._failing.add(source)
        self._tally.reload_successful = not self._failing

    async def _take_tokens(self, tokens: Tokens) -> dict[str, object]:
        self._access.tokens = tokens

        def revoked(place: Place) -> bool:
            return place.token is not None and place.token.digest not in tokens

        ended = await self._roster.dismiss(REVOKED, revoked) if self._end_revoked else 0
        return {"file": "tokens", "tokens": len(tokens), "sessions_ended": ended}

    async def _take_secrets(self, secrets: Vouching) -> dict[str, object]:
        self._access.vouching = secrets
        return {"file": "secrets", "dialects": ", ".join(secrets.dialects)}

    async def _take_certificate(self, certificate: Certificate) -> dict[str, object]:
        self._shared.tls = certificate.context
        self._tally.certificate_expires = certificate.expires
        expires = datetime.fromtimestamp(certificate.expires, UTC)
        return {"file": "certificate", "expires": expires.isoformat()}
