"""Bearer tokens: their alphabet, which the service checks and so does the client, and their names.

The alphabet is the `b64token` of RFC 6750, section 2.1. It has no `:`, so a name can stand before.
"""

import hashlib
import re
from typing import NamedTuple

#: The alphabet in words, for a sentence that begins with "a token has".
ALPHABET = "letters, digits and -._~+/ only, and = only at its end"

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
#: What a token's name has, in words, for a sentence that begins with "a name has".
NAME = "1 to 40 letters, digits and -._ only"

_NAME = re.compile(r"[A-Za-z0-9._-]{1,40}")


class Token(NamedTuple):
    """A known token: who holds it, and the digest by which it is known again.

    `name` is None where the file gives none; `line` is the token's place in the file.
    """

    digest: bytes
    name: str | None
    line: int

    @property
    def called(self) -> str:
        """What logs call it; no name has a space, so a line is never taken for a name."""
        return self.name or f"line {self.line}"

    @property
    def holder(self) -> str | bytes:
        """Whose calls count together: those of a name, which may have several tokens."""
        return self.name or self.digest


def wrong_at(text: str) -> int | None:
    """Return the index of the first character that makes the text no token; None for a token."""
    token = _TOKEN.match(text)
    end = token.end() if token else 0
    return None if token and end == len(text) else end


def is_name(text: str) -> bool:
    """Return whether a token may have this name."""
    return _NAME.fullmatch(text) is not None


def digest(token: str) -> bytes:
    """Return by what a token is known: it does not tell the token."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()
