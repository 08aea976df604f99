"""What a proxy says before everything else: the PROXY header of an accepted connection.

It is read off the bare socket, before TLS, to its last byte and no further.
"""

import socket

import trio

from service.net.http1 import Address
from service.net.proxy import MAX_HEADER_BYTES, MalformedHeader, parse
from service.networks import Networks, endpoint
from service.refusals import Refusals
from service.tally import Refusal

#: How long a proxy may take over its header, in seconds; three cover a retransmission (section 2).
_HEADER_SECONDS = 5


class Proxies:
    """The proxies that begin each connection with a PROXY header; nobody else may.

    The address of the connection alone decides. A receiver must not guess from the bytes whether
    there is a header (section 2): then anybody could claim any address.
    """

    def __init__(self, networks: Networks, refusals: Refusals) -> None:
        self._networks, self._refusals = networks, refusals

    def __contains__(self, peer: Address) -> bool:
        return peer[0] in self._networks

    async def introduced(self, transport: socket.socket, proxy: Address) -> Address:
        """Return the client that a proxy's header names, or the proxy itself if it names none.

        Raises trio.BrokenResourceError where no valid header came, and counts and logs that.
        """
        try:
            with trio.fail_after(_HEADER_SECONDS):
                return await read_header(transport) or proxy
        except MalformedHeader as malformed:
            self._note(proxy, f"no PROXY header: {malformed}")
            raise trio.BrokenResourceError from malformed
        except trio.TooSlowError as late:
            self._note(proxy, f"no PROXY header within {_HEADER_SECONDS} seconds")
            raise trio.BrokenResourceError from late

    def _note(self, proxy: Address, message: str) -> None:
        self._refusals.connection(Refusal.PROXY_HEADER, message, peer=endpoint(*proxy))


async def read_header(transport: socket.socket) -> Address | None:
    """Return the client's address and port that a proxy tells, or None if it names no client.

    Raises MalformedHeader, also for an end in the middle of a header, and trio.BrokenResourceError
    where the connection is lost or ends without a byte. Has no deadline of its own.
    """
    data = b""
    while True:
        try:
            seen = transport.recv(MAX_HEADER_BYTES, socket.MSG_PEEK)
            if not seen:
                break
            header = parse(data + seen)
            # As long as the header has no end, all that is there belongs to it.
            taken = len(seen) if header is None else header.length - len(data)
            data += transport.recv(taken)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(transport)
        except OSError as error:
            raise trio.BrokenResourceError from error
        else:
            if header is not None:
                return header.client
    if data:
        raise MalformedHeader("it ends in the middle")
    raise trio.BrokenResourceError
