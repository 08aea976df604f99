"""A session's parameters and statistics, without any link."""

import random
from collections.abc import Generator

import pytest

from service import codec
from service.audio.rates import RATES
from service.audio.resample import Resampler
from service.calls.resampling import ResamplingSession
from service.calls.session import PIECE_BYTES, Session
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
    assert parse() == Terms(codec.available()[0], "pcm16", "pcm16", 8000, 8000)
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


def test_the_reply_has_the_callers_rate_unless_said() -> None:
    assert parse(sample_rate="9600").reply_rate == 9600
    assert parse(sample_rate="9600", reply_rate="9600").reply_rate == 9600
    for rate in map(str, RATES):
        assert parse(reply_rate=rate).facts()["reply_rate"] == int(rate)


@pytest.mark.parametrize("value", ["9600", "0", "16k", "", "96000", "٨٠٠٠"])
def test_a_bad_reply_rate_is_named_with_what_is_allowed(value: str) -> None:
    with pytest.raises(BadParameter) as caught:
        parse(reply_rate=value)
    assert (caught.value.parameter, caught.value.value) == ("reply_rate", value)
    assert caught.value.allowed == (
        "one of 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, or as sample_rate"
    )


def test_a_rate_that_cannot_be_resampled_is_named_with_what_is_allowed() -> None:
    with pytest.raises(BadParameter) as caught:
        parse(sample_rate="9600", reply_rate="8000")
    assert (caught.value.parameter, caught.value.value) == ("sample_rate", "9600")
    assert caught.value.allowed.endswith("48000 where reply_rate differs")


def test_without_numpy_another_reply_rate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "available", lambda: ("audioop", "pure_python"))
    with pytest.raises(BadParameter, match="no NumPy is here to resample"):
        parse(reply_rate="16000")
    assert parse(reply_rate="8000").reply_rate == 8000


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


def resampling(tally: Tally, longest: int = 1000, **query: str) -> ResamplingSession:
    return ResamplingSession(parse(**query), tally, longest)


def expected(frame: bytes, terms: Terms) -> bytes:
    """Return the whole reply to the first frame of a call."""
    pcm = frame
    if terms.encoding != "pcm16":
        pcm = codec.tier(terms.codec, terms.encoding).decode(frame)
    pcm = Resampler(terms.sample_rate, terms.reply_rate).convert(pcm)
    return pcm if terms.reply == "pcm16" else codec.tier(terms.codec, terms.reply).encode(pcm)


@pytest.mark.parametrize("length", [320, 300_000])
@pytest.mark.parametrize("reply", ["pcm16", "ulaw"])
@pytest.mark.parametrize("encoding", ["pcm16", "ulaw", "alaw"])
@pytest.mark.parametrize(("rate", "reply_rate"), [("8000", "16000"), ("44100", "8000")])
def test_a_reply_of_another_rate_is_resampled(
    tally: Tally, rate: str, reply_rate: str, encoding: str, reply: str, length: int
) -> None:
    query = {"encoding": encoding, "reply": reply, "sample_rate": rate, "reply_rate": reply_rate}
    frame = random.Random(711).randbytes(length)
    call = resampling(tally, 10**6, **query)
    answer = call.receive(frame)
    assert isinstance(answer, Generator) == (length > PIECE_BYTES)
    assert whole(answer) == expected(frame, parse(**query))
    assert tally.resample_seconds.count == 1
    assert sum(each.count for each in tally.decode_seconds.values()) == (encoding != "pcm16")
    assert sum(each.count for each in tally.encode_seconds.values()) == (reply != "pcm16")
    call.replied(frame, 0.0)
    assert sum(each.count for each in tally.encode_seconds.values()) == (reply != "pcm16"), "no tap"


@pytest.mark.parametrize("length", [160, 50_000])
def test_a_resampled_reply_counts_by_its_own_size_once_it_is_written(
    tally: Tally, length: int
) -> None:
    call = resampling(tally, 10**6, encoding="ulaw", sample_rate="16000", reply_rate="24000")
    frames = [bytes(length), bytes(1), b""]
    replies = [whole(call.receive(frame)) for frame in frames]
    assert tally.inbound_seconds == pytest.approx((length + 1) / 16000)
    assert tally.outbound_seconds == 0
    for frame, reply, sum_so_far in zip(frames, replies, (1, 2, 2), strict=True):
        call.replied(frame, 0.001)
        written = sum(map(len, replies[:sum_so_far]))
        assert tally.outbound_seconds == pytest.approx(written / 24000), len(reply)
    assert tally.turnaround_seconds.count == 3
    assert tally.turnaround_seconds.sum == pytest.approx(0.003)


def test_a_frame_of_one_sample_may_have_an_empty_reply(tally: Tally) -> None:
    call = resampling(tally, sample_rate="24000", reply_rate="8000")
    replies = [whole(call.receive(bytes(2))) for _ in range(6)]
    assert list(map(len, replies)) == [2, 0, 0, 2, 0, 0]


@pytest.mark.parametrize(
    ("query", "longest"),
    [
        ({"reply_rate": "48000"}, 30_000 // 3),  # its reply has six times as many bytes
        ({"reply_rate": "48000", "encoding": "ulaw"}, 30_000 // 6),
        ({"reply_rate": "16000"}, 30_000),
        ({"reply_rate": "8000", "sample_rate": "48000"}, 30_000),
    ],
)
def test_a_reply_is_at_most_twice_as_long_as_the_longest_message(
    tally: Tally, query: dict[str, str], longest: int
) -> None:
    call = resampling(tally, 30_000, **query)
    assert len(whole(call.receive(bytes(longest)))) <= 60_000
    ending = call.receive(bytes(longest + 2))
    assert isinstance(ending, Ending)
    assert ending.code == 1009
    assert str(longest) in ending.reason


def test_a_piece_has_as_many_samples_as_any_after_it_was_resampled(tally: Tally) -> None:
    call = resampling(tally, 10**6, encoding="ulaw", reply="ulaw", reply_rate="48000")
    work = call.receive(bytes(100_000))
    assert isinstance(work, Generator)
    pieces = len(list(work))
    assert pieces == pytest.approx(3 * 100_000 / (PIECE_BYTES / 6), rel=0.1)
