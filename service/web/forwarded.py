"""The caller's address as trusted proxies tell it, without I/O: X-Forwarded-For and `Forwarded`.

Each proxy adds at the right end the address from which it was called; what stands to the left of
that is hearsay. So the search goes from right to left: past addresses of trusted proxies, to the
first that is none, or to what is no address at all (RFC 7239, 6.3: `unknown`, `_hidden`).

Where both headers are there, X-Forwarded-For counts. Nearly every proxy writes it. Most of them do
not know `Forwarded` (RFC 7239), and would let a caller's own through.
"""

import re
from collections.abc import Iterator
from itertools import islice

from service.networks import Networks, address

Node = tuple[str, int | None]

#: So many proxies are looked at, no more.
_MOST_PROXIES = 20

#: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`; a port may be
#: hidden (RFC 7239, 6). What is matched may still be no address.
_NODE = re.compile(
    r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(\d{1,5}|_[\w.-]+))?|([0-9A-Fa-f:.]+)", re.ASCII
)
_TOKEN = r"([\w!#$%&'*+.^`|~-]+)"
#: One `name=value` of RFC 7239, 4, perhaps none, and what separates it from the next.
_PAIR = re.compile(
    rf"""[ \t]*(?:{_TOKEN}=(?:"((?:[^"\\]|\\.)*)"|{_TOKEN})[ \t]*)?([;,]|$)""", re.ASCII
)


def client(peer: Node, forwarded_for: list[str], forwarded: list[str], trusted: Networks) -> Node:
    """Return the address and the port, if known, of who called the first proxy that is trusted.

    That is `peer` itself, unless it is a trusted proxy. The lists have a header's lines in order.
    """
    if peer[0] not in trusted:
        return peer
    nodes = _x_forwarded_for(forwarded_for) if forwarded_for else _forwarded(forwarded)
    for node in islice(nodes, _MOST_PROXIES):
        if node is None:
            break
        peer = node
        if peer[0] not in trusted:
            break
    return peer


def _x_forwarded_for(lines: list[str]) -> Iterator[Node | None]:
    """Yield each address from right to left, None for what is no address."""
    for line in reversed(lines):
        for entry in reversed(line.rsplit(",", _MOST_PROXIES)):
            yield _node(entry.strip(" \t"))


def _forwarded(lines: list[str]) -> Iterator[Node | None]:
    """Yield the address of each element's `for` from right to left, None where there is none."""
    for line in reversed(lines):
        for value in reversed(_elements(line)):
            yield None if value is None else _node(value)


def _elements(line: str) -> list[str | None]:
    """Return the value of each element's `for`; nothing but None for a line against the grammar."""
    values: list[str | None] = [None]
    place = 0
    while place < len(line):
        pair = _PAIR.match(line, place)
        if pair is None:
            return [None]
        name, quoted, token, separator = pair.groups()
        if name is not None and name.lower() == "for":
            values[-1] = token if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        if separator == ",":
            values.append(None)
        place = pair.end()
    return values


def _node(text: str) -> Node | None:
    found = _NODE.fullmatch(text)
    if found is None:
        return None
    in_brackets, v4, port, bare = found.groups()
    number = int(port) if port and port.isdigit() else None
    try:
        host = str(address(in_brackets or v4 or bare))
    except ValueError:
        return None
    return None if number is not None and number > 65535 else (host, number)
