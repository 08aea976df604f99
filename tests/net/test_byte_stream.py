"""Our stream over a socket, plain and with TLS, held to Trio's own rules for streams."""

import os
import socket
import ssl
import struct
from functools import cache
from typing import Any

import pytest
import trio
import trio.testing

from service.net.stream import Stream
from tests.peers.callers import tcp_pair
from tests.peers.certificates import certificate, certificate_authority


@cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's context and that of a client which trusts it."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate().configure_cert(server)
    # A client that closes with a ticket unread resets the connection, and what it sent is lost.
    server.num_tickets = 0
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    certificate_authority().configure_trust(client)
    return server, client


async def secret_pair() -> tuple[Stream, trio.SSLStream[trio.SocketStream]]:
    """Return a server's TLS stream and its client's, after the handshake."""
    for_server, for_client = contexts()
    accepted, connected = await tcp_pair()
    ours = Stream(accepted, for_server)
    theirs = trio.SSLStream(connected, for_client, server_hostname="localhost",
                            https_compatible=True)  # fmt: skip
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.do_handshake, trio.Semaphore(1))
        nursery.start_soon(theirs.do_handshake)
    return ours, theirs


async def plain_pair() -> tuple[Stream, trio.SocketStream]:
    """Return a server's plain stream and its client's."""
    accepted, connected = await tcp_pair()
    return Stream(accepted), connected


each_pair = pytest.mark.parametrize("pair", [plain_pair, secret_pair], ids=["tcp", "tls"])


@each_pair
async def test_it_keeps_trios_rules_for_streams(pair: Any) -> None:
    await trio.testing.check_two_way_stream(pair, None)


async def test_a_peer_that_is_gone_before_the_handshake() -> None:
    server, _ = contexts()
    accepted, connected = await tcp_pair()
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await connected.aclose()  # a reset
    stream = Stream(accepted, server)
    with pytest.raises(trio.BrokenResourceError):
        await stream.do_handshake(trio.Semaphore(1))
    await stream.aclose()
    assert stream.transport.fileno() < 0


@each_pair
async def test_more_than_the_socket_takes_at_once_comes_whole(pair: Any) -> None:
    ours, theirs = await pair()
    sent, received = os.urandom(8 << 20), bytearray()
    async with ours, theirs, trio.open_nursery() as nursery:
        nursery.start_soon(ours.send_all, sent)
        while len(received) < len(sent):
            received += await theirs.receive_some()
    assert received == sent


@each_pair
async def test_after_a_cancelled_write_the_rest_goes_out(pair: Any) -> None:
    ours, theirs = await pair()
    data, sent = os.urandom(8 << 20), 0
    with trio.move_on_after(0.2):
        while True:
            sent += await ours.send_some(memoryview(data)[sent:])
    async with trio.open_nursery() as nursery:
        received = bytearray()
        nursery.start_soon(ours.send_all, data[sent:])
        while len(received) < len(data):
            received += await theirs.receive_some()
    assert received == data
    await ours.aclose()
    await theirs.aclose()
