"""RFC 6455 framing: the same bytes give the same messages, however they are split."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode

from service.ending import Ending
from service.websocket.wire import PING, Wire, frame
from tests.peers.frames import masked

LIMIT = 70_000


def close(code: int = 1000, reason: str = "") -> bytes:
    """Return a client's close frame."""
    return masked(Opcode.CLOSE, Close(code, reason).serialize())


def read(*chunks: bytes) -> tuple[list[bytes | str], bytes, Ending | None]:
    """Feed a new wire; return its messages, its replies and its ending."""
    wire = Wire(LIMIT)
    messages = [message for chunk in chunks for message in taken(wire, chunk)]
    return messages, wire.take_replies(), wire.ending


def taken(wire: Wire, chunk: bytes, most: int = 3) -> list[bytes | str]:
    """Feed a chunk, and return its messages as a carrier takes them, some frames at a time."""
    wire.feed(chunk)
    messages = []
    while wire.more:
        messages += wire.messages(most)
    return messages


sizes = st.sampled_from([0, 1, 125, 126, 127, 320, 65535, 65536])
payloads = sizes.map(os.urandom)
controls = st.sampled_from([masked(Opcode.PING, b"beat"), masked(Opcode.PONG), b""])


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[bytes | str]]:
    """Draw what a well-behaved client sends, and the messages in it."""
    sent, messages = b"", list[bytes | str]()
    for _ in range(draw(st.integers(1, 4))):
        payload = draw(payloads)
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        parts = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
        text = draw(st.booleans()) and payload.isascii()
        for number, part in enumerate(parts):
            kind = Opcode.TEXT if text else Opcode.BINARY
            opcode = Opcode.CONT if number else kind
            sent += masked(opcode, part, number == len(parts) - 1) + draw(controls)
        messages.append(payload.decode() if text else payload)
    return sent, messages


@given(conversations(), st.data())
def test_any_split_gives_the_same_messages(
    conversation: tuple[bytes, list[bytes | str]], data: st.DataObject
) -> None:
    sent, messages = conversation
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=8)))
    chunks = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
    assert read(*chunks) == read(sent)
    assert read(sent)[0] == messages


@pytest.mark.parametrize("size", [0, 1, 125, 126, 300])
def test_every_byte_boundary_down_to_a_byte_a_read(size: int) -> None:
    payload = os.urandom(size)
    sent = masked(Opcode.PING, b"x") + masked(Opcode.BINARY, payload) + masked(
        Opcode.TEXT, "é".encode()[:1], False
    ) + masked(Opcode.CONT, "é".encode()[1:]) + close(3000)  # fmt: skip
    whole = read(sent)
    assert whole[0] == [payload, "é"]
    for cut in range(len(sent) + 1):
        assert read(sent[:cut], sent[cut:]) == whole
    assert read(*(sent[i : i + 1] for i in range(len(sent)))) == whole


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_end_in_messages_or_in_an_ending_and_never_in_an_exception(
    noise: bytes, cut: int
) -> None:
    assert read(noise[:cut], noise[cut:]) == read(noise)


def test_pings_are_answered_with_their_payload() -> None:
    assert read(masked(Opcode.PING, b"beat")) == ([], b"\x8a\x04beat", None)


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
def test_the_peers_close_is_echoed_and_its_code_known(code: int) -> None:
    _, replies, ending = read(close(code, "bye"))
    assert replies == Frame(Opcode.CLOSE, Close(code, "bye").serialize()).serialize(mask=False)
    assert ending is not None
    assert (ending.outcome, ending.peer_code) == ("completed", code)


def test_a_close_without_a_code_counts_as_1005() -> None:
    _, replies, ending = read(masked(Opcode.CLOSE))
    assert replies == b"\x88\x00"
    assert ending is not None
    assert ending.peer_code == 1005


BROKEN_RULES = {
    "a reserved bit": (b"\xc2\x80" + bytes(4), 1002),
    "a reserved bit with audio": (b"\xc2\x85" + bytes(4 + 5), 1002),
    "a reserved opcode": (b"\x83\x80" + bytes(4), 1002),
    "unmasked": (b"\x82\x00", 1002),
    "a continuation of nothing": (masked(Opcode.CONT, b"x"), 1002),
    "a message in a message": (masked(Opcode.BINARY, b"x", False) + masked(Opcode.BINARY), 1002),
    "a long control frame": (b"\x89\xfe\x00\x7e" + bytes(4 + 126), 1002),
    "a fragmented control frame": (b"\x09\x80" + bytes(4), 1002),
    "half a close code": (masked(Opcode.CLOSE, b"\x03"), 1002),
    "a code that is never sent": (masked(Opcode.CLOSE, (1005).to_bytes(2)), 1002),
    "a close reason that is no UTF-8": (masked(Opcode.CLOSE, b"\x03\xe8\xff"), 1007),
    "text that is no UTF-8": (masked(Opcode.TEXT, b"\xff"), 1007),
    "fragments that are no UTF-8": (
        masked(Opcode.TEXT, b"\xc3", False) + masked(Opcode.CONT, b"("),
        1007,
    ),
    "too large": (b"\x82\xff" + (LIMIT + 1).to_bytes(8) + bytes(4), 1009),
    "fragments that are too large": (
        masked(Opcode.BINARY, bytes(LIMIT), False) + masked(Opcode.CONT, b"x"),
        1009,
    ),
}


@pytest.mark.parametrize("rule", BROKEN_RULES)
def test_a_broken_rule_has_its_close_code(rule: str) -> None:
    sent, code = BROKEN_RULES[rule]
    _, replies, ending = read(sent)
    assert ending is not None
    assert (ending.outcome, ending.code) == ("rejected", code)
    assert replies[:1] == b"\x88"
    assert int.from_bytes(replies[2:4]) == code


@pytest.mark.parametrize("rule", BROKEN_RULES)
def test_a_broken_rule_is_found_byte_by_byte_too_behind_good_frames(rule: str) -> None:
    sent, code = BROKEN_RULES[rule]
    sent = masked(Opcode.BINARY, b"hi") + sent + masked(Opcode.PING)
    messages, _, ending = read(*(sent[i : i + 1] for i in range(len(sent))))
    assert messages[:1] == [b"hi"]
    assert ending is not None
    assert (ending.outcome, ending.code) == ("rejected", code)


def test_a_frame_within_the_limit_is_waited_for() -> None:
    assert read(b"\x82\xfe\xff\xff" + bytes(4)) == ([], b"", None)


def test_a_close_between_fragments_is_a_close() -> None:
    """Autobahn|Testsuite's case 7.1.5; websockets alone calls it a protocol error."""
    messages, replies, ending = read(masked(Opcode.TEXT, b"x", False), close(1000))
    assert (messages, replies) == ([], b"\x88\x02\x03\xe8")
    assert ending is not None
    assert ending.outcome == "completed"


def test_nothing_is_read_after_the_end() -> None:
    assert read(close() + masked(Opcode.BINARY, b"late"))[0] == []


def test_our_close_is_said_once_and_waits_for_the_peers() -> None:
    wire = Wire(LIMIT)
    assert wire.close(1001, "bye") == b"\x88\x05\x03\xe9bye"
    assert wire.close(1001, "bye") == b""
    assert taken(wire, masked(Opcode.BINARY, b"late")) == [b"late"]
    assert wire.peer_code is None
    taken(wire, close(1001))
    assert wire.peer_code == 1001


def test_a_long_reason_is_cut_to_what_a_control_frame_holds() -> None:
    closing = Wire(LIMIT).close(1008, "é" * 100)
    assert closing[1] <= 125
    closing[4:].decode()


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_replies_are_whole_unmasked_frames(size: int) -> None:
    for message, opcode in ((bytes(size), Opcode.BINARY), ("x" * size, Opcode.TEXT)):
        payload = message if isinstance(message, bytes) else message.encode()
        assert frame(message) == Frame(opcode, payload).serialize(mask=False)


def test_our_ping_is_empty() -> None:
    assert PING == b"\x89\x00"


def test_a_message_in_many_fragments_costs_only_its_bytes() -> None:
    wire = Wire(LIMIT)
    taken(wire, masked(Opcode.BINARY, b"", False))
    for _ in range(1000):
        assert taken(wire, masked(Opcode.CONT, b"x", False)) == []
    assert taken(wire, masked(Opcode.CONT)) == [b"x" * 1000]


lengths = st.sampled_from([0, 1, 119, 125, 126, 127, 300, 65535, 65536])


texts = lengths.map(lambda length: "é" * (length // 2) + "e" * (length % 2))


@given(lengths.map(os.urandom) | texts, st.integers(0, 300), st.data())
def test_the_fast_path_takes_whole_frames_only(
    payload: bytes | str, first: int, data: st.DataObject
) -> None:
    """A frame of each length form, in two reads, read as the pump does."""
    if isinstance(payload, str):
        sent = masked(Opcode.TEXT, payload.encode())
    else:
        sent = masked(Opcode.BINARY, payload)
    cut = data.draw(st.integers(0, min(first, len(sent))) | st.just(len(sent)))
    wire, messages = Wire(LIMIT), list[bytes | str]()
    for chunk in filter(None, (sent[:cut], sent[cut:])):
        sole = wire.sole_message(bytearray(chunk), len(chunk))
        messages += taken(wire, chunk) if sole is None else [sole]
    assert messages == [payload]
    assert wire.ending is None


def test_the_length_127_announces_a_longer_form_and_is_no_size() -> None:
    """The first 133 bytes of a large frame look like a frame of 127 bytes."""
    sent = masked(Opcode.BINARY, bytes(range(256)) * 256)
    wire = Wire(LIMIT)
    assert wire.sole_message(bytearray(sent[:133]), 133) is None
    assert taken(wire, sent[:133]) == []
    assert taken(wire, sent[133:]) == [bytes(range(256)) * 256]


def test_text_and_binary_messages_of_one_size_are_told_apart() -> None:
    wire, messages = Wire(LIMIT), []
    for opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.BINARY, Opcode.TEXT, Opcode.TEXT):
        sent = bytearray(masked(opcode, b"same"))
        messages.append(wire.sole_message(sent, len(sent)))
    assert messages == ["same", b"same", b"same", "same", "same"]


def test_the_fast_path_leaves_text_that_is_not_utf_8_to_the_protocol() -> None:
    wire, sent = Wire(LIMIT), masked(Opcode.TEXT, b"\xff")
    assert wire.sole_message(bytearray(sent), len(sent)) is None
    assert taken(wire, sent) == []
    assert wire.ending is not None
    assert (wire.ending.code, wire.ending.rejection) == (1007, "invalid_text")


def cause(number: int) -> bytes:
    """Return the close frame of a peer that closes with the cause of its hang-up."""
    return masked(Opcode.CLOSE, number.to_bytes(2))


@pytest.mark.parametrize("number", [1, 16, 127, 1000, 1001])
def test_a_peer_may_close_with_the_cause_of_its_hang_up(number: int) -> None:
    wire = Wire(LIMIT, hangup_causes=True)
    assert taken(wire, masked(Opcode.BINARY, b"last") + cause(number)) == [b"last"]
    assert wire.ending is not None
    assert (wire.ending.outcome, wire.ending.peer_code) == ("completed", number)
    answer = max(number, 1000).to_bytes(2)
    assert wire.take_replies() == Frame(Opcode.CLOSE, answer).serialize(mask=False)


@pytest.mark.parametrize(("number", "causes"), [(16, False), (0, True), (128, True), (999, True)])
def test_another_code_is_against_the_protocol(number: int, causes: bool) -> None:
    wire = Wire(LIMIT, hangup_causes=causes)
    taken(wire, cause(number))
    assert wire.ending is not None
    assert wire.ending.code == 1002


@pytest.mark.parametrize("opcode", [Opcode.CONT, Opcode.BINARY])
def test_nobody_has_us_keep_two_messages(opcode: Opcode) -> None:
    """Fragments up to the limit, and then the head of a frame of the limit."""
    head = bytes([0x80 | opcode, 0xFF]) + LIMIT.to_bytes(8) + bytes(4)
    _, _, ending = read(masked(Opcode.BINARY, bytes(LIMIT - 1), False), head)
    assert ending is not None
    assert ending.code == 1009


def test_messages_come_a_few_at_a_time() -> None:
    wire = Wire(LIMIT)
    wire.feed(masked(Opcode.BINARY, b"a") * 5 + b"\x82")
    taken_so_far = [wire.messages(2), wire.messages(2), wire.messages(2)]
    assert taken_so_far == [[b"a"] * 2, [b"a"] * 2, [b"a"]]
    assert not wire.more
