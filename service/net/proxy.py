"""The PROXY protocol, versions 1 and 2, without I/O: a proxy's header in, the client's address out.

The specification is doc/proxy-protocol.txt of HAProxy. A header comes before everything else, TLS
too. Where it names no TCP client (`UNKNOWN`, `LOCAL`, AF_UNSPEC, AF_UNIX, datagrams), the
connection's own address counts. TLVs are skipped.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from service.networks import address

#: The longest header that is taken, in bytes. The specification keeps headers below 536 bytes; one
#: with the client's certificate in it is longer.
MAX_HEADER_BYTES = 4096

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED_BYTES = 16
_WORD = b"PROXY "
_MAX_LINE_BYTES = 107

_LINE = re.compile(rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (\d{1,5}) (\d{1,5})")
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: .*)?", re.DOTALL)
_IP = {b"TCP4": IPv4Address, b"TCP6": IPv6Address}

_LOCAL, _PROXY = 0x20, 0x21
#: For TCP over each family, as byte 14 names it: the bytes of an address.
_ADDRESS_BYTES = {0x11: 4, 0x21: 16}


class MalformedHeader(Exception):  # noqa: N818
    """What a proxy sent is no header of the PROXY protocol; the message says why."""


class Header(NamedTuple):
    """A header's length in bytes, and the client's address and port; None where it names none."""

    length: int
    client: tuple[str, int] | None


def parse(data: bytes) -> Header | None:
    """Return the header with which the data begin, or None if they are only a part of it.

    Raises MalformedHeader as soon as the data can be no beginning of a header.
    """
    if data.startswith(_WORD):
        return _line(data)
    if data.startswith(_SIGNATURE):
        return _binary(data)
    if _WORD.startswith(data) or _SIGNATURE.startswith(data):
        return None
    raise MalformedHeader("it begins with something else")


def _line(data: bytes) -> Header | None:
    """Read version 1: one line of ASCII."""
    end = data.find(b"\r\n", 0, _MAX_LINE_BYTES)
    if end < 0:
        if len(data) < _MAX_LINE_BYTES:
            return None
        raise MalformedHeader(f"its line does not end within {_MAX_LINE_BYTES} bytes")
    line, length = data[:end], end + 2
    if _UNKNOWN.fullmatch(line):
        return Header(length, None)
    parts = _LINE.fullmatch(line)
    if parts is None:
        raise MalformedHeader("its line has other words than the protocol's")
    family, source, target, *ports = parts.groups()
    try:
        client = _IP[family](source.decode())
        _IP[family](target.decode())
    except ValueError:
        raise MalformedHeader("its line has an address that is none") from None
    source_port, _ = map(_port, ports)
    return Header(length, (str(address(str(client))), source_port))


def _port(digits: bytes) -> int:
    port = int(digits)
    if port > 65535 or str(port).encode() != digits:
        raise MalformedHeader("its line has a port that is none")
    return port


def _binary(data: bytes) -> Header | None:
    """Read version 2: 16 bytes, then as many as they announce."""
    # Each byte is looked at as it comes: who sends nonsense is told at once.
    if len(data) > 12 and data[12] not in (_LOCAL, _PROXY):
        raise MalformedHeader("its version or command is unknown")
    if len(data) > 13 and data[12] == _PROXY and (data[13] >> 4 > 3 or data[13] & 15 > 2):
        raise MalformedHeader("its family or transport is unknown")
    if len(data) < _FIXED_BYTES:
        return None
    command, family = data[12], data[13]
    length = _FIXED_BYTES + int.from_bytes(data[14:16])
    if length > MAX_HEADER_BYTES:
        raise MalformedHeader(f"it announces more than {MAX_HEADER_BYTES} bytes")
    size = _ADDRESS_BYTES.get(family) if command == _PROXY else None
    if size is not None and length < _FIXED_BYTES + 2 * size + 4:
        raise MalformedHeader("it is too short for its addresses")
    if len(data) < length:
        return None
    if size is None:
        return Header(length, None)
    ip, ports = data[_FIXED_BYTES : _FIXED_BYTES + size], _FIXED_BYTES + 2 * size
    client = IPv4Address(ip) if size == 4 else IPv6Address(ip)
    return Header(length, (str(address(str(client))), int.from_bytes(data[ports : ports + 2])))
