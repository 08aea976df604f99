"""The one alphabet of bearer tokens: the service checks it, and so does the client.

The alphabet is the `b64token` of RFC 6750, section 2.1.
"""

import re

#: The alphabet in words, for a sentence that begins with "a token has".
ALPHABET = "letters, digits and -._~+/ only, and = only at its end"

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def wrong_at(text: str) -> int | None:
    """Return the index of the first character that makes the text no token; None for a token."""
    token = _TOKEN.match(text)
    end = token.end() if token else 0
    return None if token and end == len(text) else end
