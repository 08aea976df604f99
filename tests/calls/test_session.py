"""A session's parameters and statistics, without any link."""

import random
from collections.abc import Generator

import pytest

from service import codec
from service.calls.session import Session
from service.calls.terms import BadParameter, Terms
from service.conversation import Message, Work
from service.ending import Ending
from service.tally import Tally


def parse(**query: str) -> Terms:
    return Terms.parse(query, codec.ORDER)


@pytest.fixture
def tally() -> Tally:
    return Tally(codec.available(), codec.LAWS)


def session(tally: Tally, **query: str) -> Session:
    return Session(parse(**query), tally, 1000)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("pcm16", "pcm16"), ("linear16", "pcm16"), ("l16", "pcm16"),
        ("ulaw", "ulaw"), ("mulaw", "ulaw"), ("pcmu", "ulaw"), ("g711_ulaw", "ulaw"),
        ("alaw", "alaw"), ("pcma", "alaw"), ("G711_ALAW", "alaw"),
    ],
)  # fmt: skip
def test_an_encoding_has_many_names(name: str, encoding: str) -> None:
    assert parse(encoding=name).encoding == encoding
    assert parse(reply=name).reply == encoding


def test_the_reply_is_encoded_as_the_call_unless_said() -> None:
    assert parse() == Terms(codec.available()[0], "pcm16", "pcm16", 8000)
    assert parse(encoding="alaw").reply == "alaw"


def test_codecs_are_taken_by_name_and_unknown_ones_replaced_by_the_best() -> None:
    assert parse(codec="pure_python").codec == "pure_python"
    assert parse(codec="opus").codec == codec.available()[0]
    assert Terms.parse({"codec": "opus"}, ["numpy"]).codec == "numpy"


@pytest.mark.parametrize("value", ["0", "-8000", "192001", "8k", "", "8_000", "٨٠٠٠", "9" * 5000])
def test_a_bad_sample_rate_is_named_with_what_is_allowed(value: str) -> None:
    with pytest.raises(BadParameter) as caught:
        parse(sample_rate=value)
    assert (caught.value.parameter, caught.value.value) == ("sample_rate", value)
    assert caught.value.allowed == "a whole number from 1 to 192000"


@pytest.mark.parametrize("value", ["1", "192000"])
def test_sample_rates_at_the_bounds_pass(value: str) -> None:
    assert parse(sample_rate=value).sample_rate == int(value)


@pytest.mark.parametrize("parameter", ["encoding", "reply"])
def test_a_bad_encoding_is_named_with_what_is_allowed(parameter: str) -> None:
    with pytest.raises(BadParameter) as caught:
        parse(**{parameter: "opus"})
    assert caught.value.parameter == parameter
    assert "pcm16" in caught.value.allowed


def test_frames_and_seconds_of_audio_are_counted(tally: Tally) -> None:
    call = session(tally, encoding="ulaw", reply="pcm16", sample_rate="16000")
    for frame in (bytes(160), bytes(320)):
        reply = call.receive(frame)
        assert not isinstance(reply, Ending)
        call.replied(frame, 0.001)
    assert (call.frames, call.bytes, call.smallest, call.largest) == (2, 480, 160, 320)
    assert tally.frames == {"inbound": 2, "outbound": 2}
    assert tally.audio_seconds == pytest.approx({"inbound": 0.03, "outbound": 0.03})
    assert tally.frame_bytes["ulaw"].sum == 480
    assert tally.turnaround_seconds.sum == pytest.approx(0.002)


def whole(reply: Message | Ending | Work) -> Message:
    """Return a reply; do the work first that it may need."""
    while not isinstance(reply, bytes):
        assert isinstance(reply, Generator)
        try:
            next(reply)
        except StopIteration as done:
            reply = done.value
    return reply


@pytest.mark.parametrize("length", [256, 300_000])
@pytest.mark.parametrize(("encoding", "reply"), [("pcm16", "ulaw"), ("alaw", "pcm16"),
                                                 ("ulaw", "alaw")])  # fmt: skip
def test_every_tier_transcodes(tally: Tally, encoding: str, reply: str, length: int) -> None:
    frame = random.Random(711).randbytes(length)
    for tier in codec.available():
        pcm = frame if encoding == "pcm16" else codec.tier(tier, encoding).decode(frame)
        expected = pcm if reply == "pcm16" else codec.tier(tier, reply).encode(pcm)
        call = Session(parse(encoding=encoding, reply=reply, codec=tier), tally, length)
        assert whole(call.receive(frame)) == expected, tier


@pytest.mark.parametrize("tier", codec.available())
def test_an_untouched_echo_is_encoded_after_its_reply(tally: Tally, tier: str) -> None:
    call = session(tally, codec=tier)
    frame = bytes(320)
    reply = call.receive(frame)
    assert reply is frame
    assert sum(tally.encode_seconds[tier, "ulaw"].counts) == 0
    call.replied(frame, 0.001)
    assert sum(tally.encode_seconds[tier, "ulaw"].counts) == 1
    assert tally.encode_seconds[tier, "ulaw"].sum > 0


@pytest.mark.parametrize(
    ("query", "encoded", "decoded"),
    [
        ({"reply": "ulaw"}, 1, 0),
        ({"encoding": "ulaw", "reply": "pcm16"}, 0, 1),
        ({"encoding": "ulaw", "reply": "alaw"}, 1, 1),
        ({"encoding": "ulaw"}, 0, 0),
    ],
)
def test_each_conversion_is_timed_once(
    tally: Tally, query: dict[str, str], encoded: int, decoded: int
) -> None:
    call = session(tally, **query)
    call.receive(bytes(320))
    call.replied(bytes(320), 0.0)
    assert sum(sum(each.counts) for each in tally.encode_seconds.values()) == encoded
    assert sum(sum(each.counts) for each in tally.decode_seconds.values()) == decoded


def test_a_refused_message_counts_as_no_frame(tally: Tally) -> None:
    call = session(tally)
    for message in (b"odd", "text", bytes(1002)):
        ending = call.receive(message)
        assert isinstance(ending, Ending)
        assert ending.outcome == "rejected"
    assert call.frames == tally.frames["inbound"] == 0


def test_a_trace_sees_each_frames_size(tally: Tally) -> None:
    call, seen = session(tally), list[int]()
    call.trace = seen.append
    call.receive(bytes(320))
    call.receive(b"")
    assert seen == [320, 0]
