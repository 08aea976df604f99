"""The rule book of a conversation, without a socket and without a clock: time is an argument."""

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode

from service.conversation import Limits, Message, Mouth, Work
from service.ending import ABORTED, DRAINED, STUCK, Ending, rejected
from service.net.talk import FRAMES_AT_ONCE, GATHER_BYTES, Talk
from service.websocket.wire import PING, frame
from tests.peers.frames import masked

LIMITS = Limits(
    message_bytes=100_000, idle_seconds=300, send_seconds=10, ping_seconds=20, pong_seconds=5
)
REFUSED = rejected("odd_length", 1003, "odd")


class Parrot:
    """Returns each message; `bad` ends the call, `long` is answered in three pieces.

    `silence` has no reply.
    """

    def __init__(self) -> None:
        self.counted: list[tuple[Message, float]] = []

    def begin(self, mouth: Mouth) -> None:
        """Say nothing."""

    def receive(self, message: Message) -> Message | Ending | Work | None:
        if message == b"bad":
            return REFUSED
        if message == b"silence":
            return None
        return self._in_pieces(message) if message == b"long" else message

    def replied(self, message: Message, seconds: float) -> None:
        self.counted.append((message, seconds))

    def _in_pieces(self, message: Message) -> Work:
        yield
        yield
        return message


def binary(*payloads: bytes) -> bytes:
    return b"".join(masked(Opcode.BINARY, payload) for payload in payloads)


def all_of(talk: Talk, data: bytes) -> bytes:
    """Give the talk one read, and visit it until it has answered all."""
    written = talk.take(data, 0.0)
    while talk.busy:
        written += talk.go_on()
    return written


def frames(*messages: Message) -> bytes:
    return b"".join(map(frame, messages))


@pytest.fixture
def parrot() -> Parrot:
    return Parrot()


@pytest.fixture
def talk(parrot: Parrot) -> Talk:
    return Talk(parrot, LIMITS, 0.0)


def test_replies_come_in_the_order_of_their_messages(talk: Talk) -> None:
    sent = [b"a", b"long", b"b"]
    assert all_of(talk, binary(*sent)) == frames(*sent)


def test_a_message_without_a_reply_is_not_counted_as_one(talk: Talk) -> None:
    assert talk.take(binary(b"a", b"silence", b"b"), 0.0) == frames(b"a", b"b")
    talk.written(1.0)
    assert talk.conversation.counted == [(b"a", 1.0), (b"b", 1.0)]  # type: ignore[attr-defined]


def test_pongs_go_ahead_of_replies(talk: Talk) -> None:
    read = binary(b"a") + masked(Opcode.PING, b"p") + binary(b"b")
    assert talk.take(read, 0.0) == b"\x8a\x01p" + frames(b"a", b"b")


def test_the_answer_to_a_close_goes_behind_all_replies(talk: Talk) -> None:
    close = Close(1000, "").serialize()
    assert talk.take(binary(b"a") + masked(Opcode.CLOSE, close), 0.0) == frame(b"a")
    assert talk.ending is not None
    assert talk.ending.outcome == "completed"
    assert talk.farewell(talk.ending) == Frame(Opcode.CLOSE, close).serialize(mask=False)


def test_messages_before_a_bad_one_are_answered_and_those_behind_it_are_not(talk: Talk) -> None:
    assert all_of(talk, binary(b"good", b"bad", b"late")) == frame(b"good")
    assert talk.ending == REFUSED


@pytest.mark.parametrize(
    "flood",
    [
        binary(b"") * 1000,
        binary(b"ab") * 1000,
        masked(Opcode.PING) * 1000,
        masked(Opcode.PONG) * 1000,
        masked(Opcode.BINARY, b"", False) + masked(Opcode.CONT, b"", False) * 1000,
        masked(Opcode.BINARY, b"", False) + masked(Opcode.CONT, b"x", False) * 1000,
    ],
    ids=["empty", "small", "pings", "pongs", "empty fragments", "fragments of a byte"],
)
def test_one_visit_looks_at_a_few_frames_whatever_the_flood(talk: Talk, flood: bytes) -> None:
    visits, written = 1, talk.take(flood, 0.0)
    assert len(written) <= FRAMES_AT_ONCE * len(frame(b"ab"))
    while talk.busy:
        written = talk.go_on()
        assert len(written) <= FRAMES_AT_ONCE * len(frame(b"ab"))
        visits += 1
    assert visits >= 1000 // FRAMES_AT_ONCE


def test_one_visit_gathers_some_bytes_of_replies(talk: Talk) -> None:
    size = GATHER_BYTES // 4
    written = talk.take(binary(*[bytes(size)] * 20), 0.0)
    assert len(written) <= GATHER_BYTES + len(frame(bytes(size)))
    assert talk.busy


def test_one_visit_does_one_piece_of_long_work(talk: Talk) -> None:
    assert talk.take(binary(b"long"), 0.0) == b""
    written = [talk.go_on() for _ in range(3)]
    assert written == [b"", b"", frame(b"long")]
    assert not talk.busy


@given(st.lists(st.sampled_from([b"a", b"long", b"", b"xyz" * 9000]), max_size=9), st.data())
def test_any_cut_of_the_bytes_gives_the_same_replies(
    messages: Sequence[bytes], data: st.DataObject
) -> None:
    sent = binary(*messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=5)))
    parrot = Parrot()
    talk = Talk(parrot, LIMITS, 0.0)
    written = b""
    for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        if start < end:
            written += all_of(talk, sent[start:end])
    talk.written(0.0)
    assert written == frames(*messages)
    assert [message for message, _ in parrot.counted] == list(messages)


def test_a_reply_counts_once_it_is_written_from_the_read_of_its_message(
    talk: Talk, parrot: Parrot
) -> None:
    talk.take(binary(b"a", b"b"), 5.0)
    assert parrot.counted == []
    talk.written(5.5)
    assert parrot.counted == [(b"a", 0.5), (b"b", 0.5)]
    talk.written(6.0)
    assert len(parrot.counted) == 2


def test_the_end_of_the_stream_is_a_loss(talk: Talk) -> None:
    assert talk.take(b"", 0.0) == b""
    assert talk.ending is ABORTED


def test_bytes_that_wait_too_long_are_a_stuck_peer_even_behind_an_ending(talk: Talk) -> None:
    talk.take(binary(b"good", b"bad"), 0.0)
    talk.stalled(1.0)
    talk.due(10.9)
    assert talk.ending == REFUSED
    talk.due(11.0)
    assert talk.ending is STUCK


def test_no_message_for_long_is_idle_and_pings_are_none(talk: Talk) -> None:
    for now in range(10, 300, 10):
        talk.take(masked(Opcode.PING), 0.0)
        assert talk.due(float(now)) == b""
    assert talk.ending is None
    assert talk.next_due() == 300
    talk.due(300.0)
    assert talk.ending is not None
    assert (talk.ending.outcome, talk.ending.code) == ("idle", 1008)


def test_a_message_begins_the_idle_time_anew(talk: Talk) -> None:
    all_of(talk, binary(b"a"))
    talk.due(299.0)
    talk.take(masked(Opcode.PONG), 0.0)
    talk.due(301.0)
    assert talk.ending is None


def test_a_silent_peer_gets_one_ping_and_is_then_gone(talk: Talk) -> None:
    assert talk.next_due() == 20
    assert talk.due(19.0) == b""
    assert talk.due(20.0) == PING
    assert talk.next_due() == 25
    assert talk.due(24.0) == b""
    assert talk.ending is None
    talk.due(25.0)
    assert talk.ending is ABORTED


def test_a_pong_keeps_a_silent_peer(talk: Talk) -> None:
    assert talk.due(20.0) == PING
    talk.take(masked(Opcode.PONG), 0.0)
    assert talk.due(24.0) == b""
    assert talk.due(30.0) == b""
    assert talk.ending is None
    assert talk.due(44.0) == PING


def test_a_frame_that_comes_slowly_is_no_silence(talk: Talk) -> None:
    for now, byte in enumerate(binary(bytes(200))[:200]):
        talk.take(bytes([byte]), 0.0)
        assert talk.due(float(now)) == b""
    assert talk.ending is None


def test_a_peer_that_is_not_read_is_not_silent(talk: Talk) -> None:
    """While our bytes wait for the peer, its own bytes wait for us."""
    talk.take(binary(b"a"), 0.0)
    talk.stalled(298.0)
    talk.due(305.0)
    talk.written(0.0)
    assert talk.due(306.0) == b""
    assert talk.ending is None


def test_no_pings_if_not_wanted(parrot: Parrot) -> None:
    talk = Talk(parrot, Limits(1000, 300, 10, 0, 5), 0.0)
    assert talk.due(299.0) == b""
    assert talk.next_due() == 300


def test_our_own_close_is_the_last_word(talk: Talk) -> None:
    talk.take(masked(Opcode.PING, b"p"), 0.0)
    assert talk.farewell(DRAINED).startswith(b"\x88")
    assert talk.farewell(DRAINED) == b""


class Doubling(Parrot):
    """Answers with twice the bytes, as G.711 to PCM16 does."""

    def receive(self, message: Message) -> Message:
        assert isinstance(message, bytes)
        return message + message


MIB = 1 << 20
#: The bound of README.md for one session, in bytes.
BOUND = 3 * MIB + 128 * 1024


@pytest.mark.parametrize("size", [1, 1000, 300_000])
def test_a_message_in_the_making_keeps_within_the_memory_that_the_readme_states(size: int) -> None:
    """Fragments of this size, the last 5,000 bytes in fragments of one."""
    fragments = [bytes(size)] * ((MIB - 5_000) // size) if size > 1 else []
    heard = sum(map(len, fragments)) + 5_000
    reads = [masked(Opcode.BINARY, b"", False)]
    reads += [masked(Opcode.CONT, fragment, False) for fragment in fragments]
    reads += [masked(Opcode.CONT, b"x", False) * 1000] * 5
    talk = Talk(Doubling(), replace(LIMITS, message_bytes=MIB), 0.0)
    tracemalloc.start()
    try:
        for read in reads:
            all_of(talk, read)
        assert talk.ending is None
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept <= 1.2 * heard + 128 * 1024, "of each fragment, only its bytes are kept"
    assert peak <= BOUND


def test_a_reply_that_is_not_read_keeps_within_that_memory_too() -> None:
    talk = Talk(Doubling(), replace(LIMITS, message_bytes=MIB), 0.0)
    read = binary(bytes(MIB)) + binary(b"more")
    tracemalloc.start()
    try:
        for start in range(0, len(read), 65536):
            unsent = all_of(talk, read[start : start + 65536])
            if unsent:
                break
        talk.stalled(0.0)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(unsent) > 2 * MIB
    assert kept <= BOUND
