"""Who may connect: browsers by their Origin, everybody by bearer token where tokens are set.

A dialect's endpoint may have secrets of its own, which count in the place of tokens.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from service import bearer, logs
from service.bearer import Token
from service.config import ConfigurationError
from service.web.vouching import NO_SECRETS, Vouching

_log = logs.get(__name__)

_SUBPROTOCOL_PREFIX = "bearer."

#: Tokens by their digests.
Tokens = Mapping[bytes, Token]


class Access:
    """The rule for one service: the origins it welcomes and, unless None, the tokens it takes.

    `tokens` and `vouching` may be replaced at any time.
    """

    def __init__(
        self, origins: Collection[str], tokens: Tokens | None, vouching: Vouching = NO_SECRETS
    ) -> None:
        self._origins = frozenset(origins)
        self.tokens, self.vouching = tokens, vouching

    def warn_of_open_endpoints(self, dialects: Iterable[str]) -> None:
        """Log which of the dialects' endpoints need neither a secret nor a token, if any."""
        bare = [dialect for dialect in dialects if dialect not in self.vouching.dialects]
        if bare and self.tokens is None:
            _log.warning(
                "endpoint_open",
                dialects=", ".join(bare),
                message="anybody may call there: set RT_AUDIO_SECRETS_DIR or RT_AUDIO_TOKENS_FILE",
            )

    def welcomes(self, origin: str | None, host: str | None) -> bool:
        """Return whether a page of this origin may connect to the service at this Host.

        A request without an Origin comes from no browser, and this rule always admits it.
        """
        if origin is None or "*" in self._origins or origin.lower() in self._origins:
            return True
        return host is not None and urlsplit(origin.lower()).netloc == host.lower()

    def token(
        self, authorization: str | None, query_token: str | None, subprotocols: Iterable[str]
    ) -> Token | None:
        """Return the known token in one of its three places; None if none has one."""
        if self.tokens is None:
            return None
        scheme, _, credentials = (authorization or "").partition(" ")
        given = [_token_of(name) for name in subprotocols if agreed_subprotocol([name])]
        if scheme.lower() == "bearer":
            given.append(credentials.strip())
        if query_token is not None:
            given.append(query_token)
        # A look-up takes its time by the digest, from which nobody can work towards a token.
        known = (self.tokens.get(bearer.digest(token)) for token in given)
        return next(filter(None, known), None)


def read_tokens(path: Path) -> Tokens:
    """Return the tokens of a file: `token` or `name:token` a line, `#` for comments.

    Raises ConfigurationError for a file with no token or a wrong line; it shows no token.
    """
    try:
        # Latin-1 has a character for each byte, so no file is unreadable for its encoding.
        lines = path.read_text(encoding="latin-1").split("\n")
    except OSError as error:
        raise _wrong_file(path, f"cannot be read: {error.strerror or error}") from None
    tokens: dict[bytes, Token] = {}
    for number, line in enumerate(lines, 1):
        entry = line.strip(" \t")
        if not entry or entry.startswith("#"):
            continue
        name, colon, token = entry.rpartition(":")
        column = line.index(entry) + 1
        if colon and not bearer.is_name(name):
            raise _wrong_file(path, f"line {number}, column {column}: a name has {bearer.NAME}")
        wrong = bearer.wrong_at(token)
        if wrong is not None:
            column += len(name + colon) + wrong
            raise _wrong_file(
                path, f"line {number}, column {column}: a token has {bearer.ALPHABET}"
            )
        digest = bearer.digest(token)
        tokens.setdefault(digest, Token(digest, name or None, number))
    if not tokens:
        raise _wrong_file(path, "has no token in it")
    return tokens


def agreed_subprotocol(offered: Iterable[str]) -> str | None:
    """Return the offered subprotocol that carries a token, which a browser needs echoed."""
    return next((name for name in offered if name.startswith(_SUBPROTOCOL_PREFIX)), None)


def _token_of(subprotocol: str) -> str:
    return subprotocol.removeprefix(_SUBPROTOCOL_PREFIX)


def _wrong_file(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(f"RT_AUDIO_TOKENS_FILE={path}: {why}")
