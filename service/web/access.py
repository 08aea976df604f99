"""Who may connect: browsers by their Origin, everybody by bearer token where tokens are set."""

import hashlib
import hmac
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from service import bearer
from service.config import ConfigurationError

_SUBPROTOCOL_PREFIX = "bearer."


class Access:
    """The rule for one service: the origins it welcomes and, unless None, the tokens it takes."""

    def __init__(self, origins: Collection[str], tokens: Iterable[str] | None) -> None:
        self._origins = frozenset(origins)
        # All digests have one length, so the time of a comparison does not tell a token's length.
        self._digests = None if tokens is None else [_digest(token) for token in tokens]

    @classmethod
    def load(cls, origins: Collection[str], tokens_file: Path | None) -> Self:
        """Return the rule for a tokens file, one token a line, `#` for comments.

        Raises ConfigurationError for a file with no token or a wrong line; it shows no token.
        """
        return cls(origins, None if tokens_file is None else _read_tokens(tokens_file))

    def welcomes(self, origin: str | None, host: str | None) -> bool:
        """Return whether a page of this origin may connect to the service at this Host.

        A request without an Origin comes from no browser, and this rule always admits it.
        """
        if origin is None or "*" in self._origins or origin.lower() in self._origins:
            return True
        return host is not None and urlsplit(origin.lower()).netloc == host.lower()

    def admits(
        self, authorization: str | None, query_token: str | None, subprotocols: Iterable[str]
    ) -> bool:
        """Return whether one of the three places for a token has a known token."""
        if self._digests is None:
            return True
        scheme, _, credentials = (authorization or "").partition(" ")
        given = [_token_of(name) for name in subprotocols if agreed_subprotocol([name])]
        if scheme.lower() == "bearer":
            given.append(credentials.strip())
        if query_token is not None:
            given.append(query_token)
        return any(list(map(self._knows, given)))

    def _knows(self, token: str) -> bool:
        digest = _digest(token)
        assert self._digests is not None
        # Each digest is compared even after a match, so the time does not tell which one matched.
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0


def agreed_subprotocol(offered: Iterable[str]) -> str | None:
    """Return the offered subprotocol that carries a token, which a browser needs echoed."""
    return next((name for name in offered if name.startswith(_SUBPROTOCOL_PREFIX)), None)


def _token_of(subprotocol: str) -> str:
    return subprotocol.removeprefix(_SUBPROTOCOL_PREFIX)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()


def _read_tokens(path: Path) -> list[str]:
    try:
        # Latin-1 has a character for each byte, so no file is unreadable for its encoding.
        lines = path.read_text(encoding="latin-1").split("\n")
    except OSError as error:
        raise _wrong_file(path, f"cannot be read: {error.strerror or error}") from None
    tokens = []
    for number, line in enumerate(lines, 1):
        token = line.strip(" \t")
        if not token or token.startswith("#"):
            continue
        wrong = bearer.wrong_at(token)
        if wrong is not None:
            column = line.index(token) + wrong + 1
            raise _wrong_file(
                path, f"line {number}, column {column}: a token has {bearer.ALPHABET}"
            )
        tokens.append(token)
    if not tokens:
        raise _wrong_file(path, "has no token in it")
    return tokens


def _wrong_file(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(f"RT_AUDIO_TOKENS_FILE={path}: {why}")
