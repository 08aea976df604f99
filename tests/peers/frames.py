"""Frames of RFC 6455 as a client sends them."""

from websockets.frames import Frame, Opcode


def masked(opcode: Opcode, payload: bytes = b"", fin: bool = True) -> bytes:
    """Return one client's frame."""
    return Frame(opcode, payload, fin).serialize(mask=True)


def fragments(size: int, each: int) -> bytes:
    """Return the beginning of a binary message, of zeros, that stays in the making."""
    more = masked(Opcode.CONT, bytes(each), fin=False) * (size // each - 1)
    return masked(Opcode.BINARY, bytes(each), fin=False) + more
