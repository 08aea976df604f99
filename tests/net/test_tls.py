"""TLS in records: a few of them in one call, whatever the peer sends, and no byte lost."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from tlslite.api import TLSConnection
from tlslite.constants import KeyUpdateMessageType
from websockets.frames import Opcode

from service.net.http1 import REQUESTS_AT_ONCE
from service.net.tls import RECORDS_AT_ONCE, Tls
from tests.net.test_byte_stream import contexts
from tests.peers.frames import masked
from tests.peers.reach import upgrade_request
from tests.peers.serving import serving

Result = TypeVar("Result")

HEADER_BYTES = 5


class Client:
    """A client of the standard library in memory: a test decides how its bytes are sent."""

    def __init__(self) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = contexts()[1].wrap_bio(
            self._incoming, self._outgoing, server_hostname="localhost"
        )

    def shake_hands(self, heard: bytes = b"") -> bytes:
        """Go on with the handshake; return what to send."""
        self._incoming.write(heard)
        with suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._outgoing.read()

    def says(self, data: bytes) -> bytes:
        """Return data as a record."""
        self._tls.write(data)
        return self._outgoing.read()

    def hears(self, records: bytes) -> bytes:
        """Return the data of the records that came."""
        self._incoming.write(records)
        heard = b""
        with suppress(ssl.SSLWantReadError):
            while data := self._tls.read(1 << 16):
                heard += data
        return heard

    def says_goodbye(self) -> bytes:
        """Return the record that ends the stream."""
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        return self._outgoing.read()


@contextmanager
def server() -> Iterator[tuple[Tls, socket.socket]]:
    """Give the server's side, and the socket at its other end."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(10)
    with ours, theirs:
        yield Tls(ours, contexts()[0]), theirs


@contextmanager
def connected() -> Iterator[tuple[Tls, socket.socket, Client]]:
    """Give a server and a client after their handshake."""
    with server() as (tls, theirs):
        client = Client()
        theirs.sendall(client.shake_hands())
        with pytest.raises(BlockingIOError):
            counted(tls.do_handshake)
        theirs.sendall(client.shake_hands(theirs.recv(1 << 16)))
        counted(tls.do_handshake)
        yield tls, theirs, client


def counted(operation: Callable[[], Result]) -> tuple[Result, int]:
    """Return the result of an operation, and how many calls it took."""
    calls = 1
    while True:
        try:
            return operation(), calls
        except ssl.SSLWantReadError:
            calls += 1


def in_records_of_a_byte(records: bytes) -> tuple[bytes, int]:
    """Return the records before encryption, cut into records of a byte, and their number."""
    cut = []
    while records:
        end = HEADER_BYTES + int.from_bytes(records[3:5])
        cut += [records[:3] + b"\x00\x01" + bytes([byte]) for byte in records[HEADER_BYTES:end]]
        records = records[end:]
    return b"".join(cut), len(cut)


def test_a_handshake_in_records_of_a_byte_takes_many_calls() -> None:
    with server() as (tls, theirs):
        client = Client()
        hello, records = in_records_of_a_byte(client.shake_hands())
        theirs.sendall(hello)
        calls = 0
        with suppress(BlockingIOError):
            while True:
                calls += 1
                with suppress(ssl.SSLWantReadError):
                    tls.do_handshake()
        assert calls > records / RECORDS_AT_ONCE
        theirs.sendall(client.shake_hands(theirs.recv(1 << 16)))
        tls.do_handshake()


def test_one_call_reads_a_few_records() -> None:
    buffer = bytearray(1 << 16)
    with connected() as (tls, theirs, client):
        theirs.sendall(b"".join(client.says(b"%d" % number) for number in range(10)))
        read = b""
        while len(read) < 10:
            size = tls.recv_into(buffer)
            assert size <= RECORDS_AT_ONCE
            read += buffer[:size]
            assert tls.more == (len(read) < 10)
        assert read == b"0123456789"


def test_key_updates_take_many_calls_and_are_answered() -> None:
    """As said by another implementation, which demands an answer to each."""
    updates = 200
    with server() as (tls, theirs):
        theirs.setblocking(False)  # or the client would wait for the server, in this very thread
        client = TLSConnection(theirs)
        for _ in client.handshakeClientCert(async_=True):
            with suppress(BlockingIOError):
                counted(tls.do_handshake)
        for _ in range(updates):
            for _ in client.send_keyupdate_request(KeyUpdateMessageType.update_requested):
                pass
        client.write(b"after them")
        read, calls = counted(lambda: tls.recv(100))
        assert read == b"after them"
        assert calls > updates / RECORDS_AT_ONCE
        assert theirs.recv(1, socket.MSG_PEEK)  # the answers, although nothing was sent yet
        assert tls.send(b"with the newest keys") == 20
        assert client.read(min=20, max=20) == b"with the newest keys"


@given(
    st.lists(st.binary(min_size=1, max_size=400), min_size=1, max_size=8),
    st.lists(st.integers(1, 2000), min_size=1, max_size=8),
    st.integers(1, 500),
)
def test_no_byte_is_lost_however_the_stream_is_cut(
    messages: list[bytes], cuts: list[int], room: int
) -> None:
    with connected() as (tls, theirs, client):
        stream = b"".join(map(client.says, messages))
        read = b""
        while stream:
            theirs.sendall(stream[: cuts[0]])
            stream, cuts = stream[cuts[0] :], cuts[1:] or [len(stream)]
            with suppress(BlockingIOError):
                while True:
                    read += counted(lambda: tls.recv(room))[0]
        theirs.close()
        assert read == b"".join(messages)
        assert tls.recv(room) == b""


@pytest.mark.parametrize(
    "hello", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff"], ids=["http", "too long"]
)
def test_what_is_no_tls_is_refused_at_once(hello: bytes) -> None:
    with server() as (tls, theirs):
        theirs.sendall(hello)
        with pytest.raises(ssl.SSLError) as refused:
            tls.do_handshake()
        assert not isinstance(refused.value, ssl.SSLWantReadError)


def test_a_spoilt_record_is_told_and_ends_the_stream() -> None:
    with connected() as (tls, theirs, client):
        record = client.says(b"spoilt")
        theirs.sendall(record[:-1] + bytes([record[-1] ^ 1]))
        with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
            tls.recv(100)
        with suppress(ssl.SSLError):
            tls.unwrap()
        with pytest.raises(ssl.SSLError, match="ALERT"):
            client.hears(theirs.recv(100))


def test_a_goodbye_ends_the_stream_behind_its_data() -> None:
    with connected() as (tls, theirs, client):
        theirs.sendall(client.says(b"last words") + client.says_goodbye())
        assert tls.recv(100) == b"last words"
        assert tls.more
        assert tls.recv(100) == b""


@pytest.mark.parametrize("records", [1, RECORDS_AT_ONCE])
async def test_frames_in_records_that_came_together_are_all_answered(records: int) -> None:
    """The socket is read once; nothing more comes that would wake the service up."""
    frames = [bytes([number]) * 2 for number in range(3 * RECORDS_AT_ONCE)]
    async with serving(tls=True) as service:
        stream, client = await trio.open_tcp_stream("127.0.0.1", service.port), Client()
        async with stream:
            await stream.send_all(client.shake_hands())
            finished = client.shake_hands(await stream.receive_some())
            await stream.send_all(finished + client.says(upgrade_request("/ws/audio")))
            heard = b""
            while not heard.endswith(b"\r\n\r\n"):
                heard += client.hears(await stream.receive_some())
            said = b"".join(masked(Opcode.BINARY, frame) for frame in frames)
            size = len(said) // len(frames) // records  # of a frame, cut into so many records
            cut = [said[at : at + size] for at in range(0, len(said), size)]
            await stream.send_all(b"".join(map(client.says, cut)))
            replies = b""
            with trio.fail_after(5):
                while len(replies) < 4 * len(frames):
                    replies += client.hears(await stream.receive_some())
        assert replies == b"".join(b"\x82\x02" + frame for frame in frames)


async def test_of_many_handshakes_at_once_each_turn_of_the_loop_does_a_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, do_handshake = [0], Tls.do_handshake

    def counting(self: Tls) -> None:
        begun[-1] += 1
        do_handshake(self)

    class PerTurn(trio.abc.Instrument):
        def before_io_wait(self, timeout: float) -> None:
            begun.append(0)

    monkeypatch.setattr(Tls, "do_handshake", counting)
    async with serving(tls=True) as service:
        hello = Client().shake_hands()
        clients = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(20)]
        for client in clients:
            client.sendall(hello[:1])
        await service.metric("rt_audio_sessions_active")  # by then they have been accepted
        begun[:] = [0]
        trio.lowlevel.add_instrument(turns := PerTurn())
        for client in clients:
            client.sendall(hello[1:])
        for client in clients:
            with client:
                await trio.lowlevel.wait_readable(client)
        trio.lowlevel.remove_instrument(turns)
    assert sum(begun) >= 20
    assert max(begun) <= REQUESTS_AT_ONCE
