"""What proxies say of whom they connect for: headers of the PROXY protocol, built independently."""

import socket
import struct

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21


def line(source: str, port: int, target: str = "", target_port: int = 443) -> bytes:
    """Return a header of version 1."""
    family, any_host = ("TCP6", "::1") if ":" in source else ("TCP4", "127.0.0.1")
    return f"PROXY {family} {source} {target or any_host} {port} {target_port}\r\n".encode()


def binary(command: int, family: int, block: bytes) -> bytes:
    """Return a header of version 2 around any block."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(block)) + block


def tcp(source: str, port: int, tlvs: bytes = b"") -> bytes:
    """Return a header of version 2 for TCP."""
    family, byte, any_host = (
        (socket.AF_INET6, 0x21, "::1") if ":" in source else (socket.AF_INET, 0x11, "127.0.0.1")
    )
    addresses = socket.inet_pton(family, source) + socket.inet_pton(family, any_host)
    return binary(PROXY, byte, addresses + struct.pack("!HH", port, 443) + tlvs)
