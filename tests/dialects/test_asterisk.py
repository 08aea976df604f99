"""Control messages of Asterisk's chan_websocket and ours, as JSON and as plain text."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dialects.asterisk import DIALECT, Provider
from service.dialects.events import (
    Alive,
    Clear,
    Cleared,
    Digits,
    Event,
    Fault,
    Flow,
    Format,
    Mark,
    Message,
    Start,
    Stop,
)
from service.dialects.half import Half
from tests.dialects.halves import DIGITS, heard, passed_on, slip

ULAW, SLIN = Format("ulaw", 8000), Format("pcm16", 8000)
PLAIN = (
    "MEDIA_START connection_id:conn1 channel:WebSocket/conn1/0x7f channel_id:pbx1-1.9"
    " format:{} optimal_frame_size:160 ptime:20"
)
JSON: dict[str, Any] = {
    "event": "MEDIA_START", "connection_id": "conn1", "channel": "WebSocket/conn1/0x7f",
    "channel_id": "pbx1-1.9", "optimal_frame_size": 160, "ptime": 20,
}  # fmt: skip
START = Start(ULAW, ULAW, "conn1", "pbx1-1.9", "+441", "+442", {"lang": "en"})
in_both = pytest.mark.parametrize("as_json", [True, False], ids=["json", "plain"])


def media_start(as_json: bool, audio: str = "ulaw") -> str:
    return json.dumps(JSON | {"format": audio}) if as_json else PLAIN.format(audio)


def started(as_json: bool, audio: str = "ulaw") -> Half:
    half = DIALECT.service({})
    half.hear(media_start(as_json, audio))
    return half


def test_a_call_in_json_from_begin_to_end() -> None:
    half = DIALECT.service({"caller": "a", "from": "+441"})
    begin = {**JSON, "format": "ulaw", "channel_variables": {"to": "+442", "caller": "b"}}
    assert heard(half, [json.dumps(begin)]) == [
        Start(
            ULAW, ULAW, "conn1", "pbx1-1.9", "+441", "+442",
            {"caller": "b", "from": "+441", "to": "+442"}, begin,
        )
    ]  # fmt: skip
    frame = bytes(160)
    assert half.hear(frame) is frame is half.audio(frame)
    said = [text for event in (Mark("m"), Clear(), Alive(), Stop()) for text in half.say(event)]
    assert [json.loads(text) for text in said] == [
        {"command": "MARK_MEDIA", "correlation_id": "m"},
        {"command": "FLUSH_MEDIA"},
        {"command": "GET_STATUS"},
        {"command": "HANGUP"},
    ]
    events: list[dict[str, Any]] = [
        {"event": "DTMF_END", "digit": "5"},
        {"event": "MEDIA_MARK_PROCESSED", "correlation_id": "m"},
        {"event": "MEDIA_XOFF"},
        {"event": "MEDIA_XON"},
        {"event": "STATUS", "queue_length": 3, "queue_full": False},
        {"event": "QUEUE_DRAINED"},
        {"event": "MEDIA_BUFFERING_COMPLETED", "correlation_id": ""},
        {"event": "ERROR", "error_text": "Unable to parse JSON command"},
    ]
    assert heard(half, [json.dumps({"channel_id": "pbx1-1.9"} | event) for event in events]) == [
        Digits("5"), Mark("m"), Flow(open=False), Flow(open=True),
        Fault("Unable to parse JSON command"),
    ]  # fmt: skip
    assert half.say(Digits("1")) == half.say(Message(1)) == ()


def test_a_call_in_plain_text_from_begin_to_end() -> None:
    half = DIALECT.service({"to": "+442"})
    words = dict(word.split(":", 1) for word in PLAIN.format("ulaw").split()[1:])
    assert heard(half, [PLAIN.format("ulaw")]) == [
        Start(
            ULAW, ULAW, "conn1", "pbx1-1.9", "", "+442", {"to": "+442"},
            {"event": "MEDIA_START", **words},
        )
    ]  # fmt: skip
    frame = bytes(160)
    assert half.hear(frame) is frame
    said = [text for event in (Mark("m"), Clear(), Alive(), Stop()) for text in half.say(event)]
    assert said == ["MARK_MEDIA m", "FLUSH_MEDIA", "GET_STATUS", "HANGUP"]
    assert heard(half, [
        "DTMF_END digit:# channel_id:pbx1-1.9",
        "MEDIA_MARK_PROCESSED m",
        "MEDIA_XOFF",
        "MEDIA_XON",
        "STATUS channel_id:pbx1-1.9 queue_length:3 queue_full:false",
        "QUEUE_DRAINED",
        "MEDIA_BUFFERING_COMPLETED",
        "ERROR channel_id:pbx1-1.9 error_text:no digit:5 here",
    ]) == [
        Digits("#"), Mark("m"), Flow(open=False), Flow(open=True), Fault("no digit:5 here"),
    ]  # fmt: skip


@in_both
@pytest.mark.parametrize(("name", "audio"), [
    ("ulaw", ULAW), ("alaw", Format("alaw", 8000)), ("slin", SLIN),
    *((f"slin{thousands}", Format("pcm16", rate)) for thousands, rate in [
        (12, 12000), (16, 16000), (24, 24000), (32, 32000), (44, 44100), (48, 48000),
    ]),
])  # fmt: skip
def test_a_format_has_asterisks_name(as_json: bool, name: str, audio: Format) -> None:
    [start] = heard(DIALECT.service({}), [media_start(as_json, name)])
    assert isinstance(start, Start)
    assert start.heard == start.played == audio
    [said] = Provider(Start(audio, audio), json=as_json).say(Start(audio, audio))
    [start] = heard(DIALECT.service({}), [said])
    assert isinstance(start, Start)
    assert start.heard == audio
    frame = int(start.said["optimal_frame_size"])
    assert frame == audio.rate // 50 * (1 if name in ("ulaw", "alaw") else 2)


@in_both
@pytest.mark.parametrize("name", ["opus", "g722", "slin96", "slin192", "ULAW", "x" * 200])
def test_other_audio_is_refused(as_json: bool, name: str) -> None:
    assert slip(DIALECT.service({}), media_start(as_json, name)) == ("format", 1003)


@pytest.mark.parametrize(("as_json", "message", "expected"), [
    (True, "STATUS", ("not_json", 1007)),
    (True, "[]", ("bad_event", None)),
    (True, "{}", ("unknown_event", None)),
    (True, '{"event":"OTHER"}', ("unknown_event", None)),
    (True, '{"event":"DTMF_END"}', ("bad_event", None)),
    (True, '{"event":"DTMF_END","digit":"f"}', ("bad_event", None)),
    (True, '{"event":"MEDIA_MARK_PROCESSED"}', ("bad_event", None)),
    (True, '{"event":"ERROR"}', ("bad_event", None)),
    (True, '{"event":"MEDIA_START"}', ("bad_event", None)),
    (True, media_start(True), ("second_start", None)),
    (False, media_start(False), ("second_start", None)),
    (False, "", ("unknown_event", None)),
    (False, "{}", ("unknown_event", None)),
    (False, "OTHER digit:5", ("unknown_event", None)),
    (False, "DTMF_END", ("bad_event", None)),
    (False, "DTMF_END digit:", ("bad_event", None)),
    (False, "ERROR", ("bad_event", None)),
])  # fmt: skip
def test_each_slip_has_its_code(
    as_json: bool, message: str, expected: tuple[str, int | None]
) -> None:
    assert slip(started(as_json), message) == expected


@pytest.mark.parametrize("message", ["", "DTMF_END digit:5", '{"event":"DTMF_END","digit":"5"}'])
def test_nothing_is_heard_before_the_start(message: str) -> None:
    half = DIALECT.service({})
    assert slip(half, message) == ("before_start", None)
    assert len(heard(half, [media_start(as_json=True)])) == 1


@in_both
@given(pieces=st.lists(st.binary(max_size=9)), early=st.integers(0, 9))
def test_audio_may_come_before_the_start_and_samples_may_be_split(
    as_json: bool, pieces: list[bytes], early: int
) -> None:
    half = DIALECT.service({})
    messages: list[bytes | str] = [*pieces[:early], media_start(as_json, "slin"), *pieces[early:]]
    [start, *audio] = sorted(heard(half, messages), key=lambda item: isinstance(item, bytes))
    assert isinstance(start, Start)
    assert all(isinstance(part, bytes) and not len(part) % 2 for part in audio)
    whole = b"".join(pieces)
    assert b"".join(audio) == whole[: len(whole) & ~1]  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "most"), [("ulaw", 16000), ("slin", 32000), ("slin48", 192000)])
def test_the_last_two_seconds_before_the_start_are_kept(name: str, most: int) -> None:
    half = DIALECT.service({})
    audio = b"".join(number.to_bytes(2, "little") for number in range(60_000)) * 2
    for begin in range(0, len(audio), 999):
        assert half.hear(audio[begin : begin + 999]) == ()
    assert half.hear(b"") == ()
    start, early = half.hear(media_start(as_json=True, audio=name))
    assert isinstance(start, Start)
    assert early == audio[-most:]
    assert half.hear(b"ab") == b"ab"


def test_what_is_kept_begins_with_a_whole_sample() -> None:
    half, audio = DIALECT.service({}), bytes(range(251)) * 801
    half.hear(audio)
    start, early = half.hear(media_start(as_json=True, audio="slin48"))
    assert isinstance(start, Start)
    assert len(audio) % 2
    assert early == audio[:-1][-191_998:]
    assert half.hear(b"x") == audio[-1:] + b"x"


def test_a_peer_that_never_begins_costs_little_memory() -> None:
    half, audio = DIALECT.service({}), bytes(100_000)
    tracemalloc.start()
    for _ in range(100):
        half.hear(audio)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1_000_000


def test_a_version_without_marks_is_sent_none() -> None:
    half = DIALECT.service({})
    half.hear(
        "MEDIA_START connection_id:c channel:WebSocket/c/1 format:ulaw optimal_frame_size:160"
    )
    assert not half.marks
    assert half.say(Mark("m")) == ()
    assert half.clears
    assert half.say(Clear()) == ("FLUSH_MEDIA",)


@in_both
@pytest.mark.parametrize(("command", "marks", "clears"), [
    ("MARK_MEDIA", False, True), ("FLUSH_MEDIA", True, False), ("PAUSE_MEDIA", True, True),
])  # fmt: skip
def test_a_channel_that_cannot_is_not_asked_again(
    as_json: bool, command: str, marks: bool, clears: bool
) -> None:
    half = started(as_json)
    fault = Fault(f"{command} not supported in passthrough mode")
    assert passed_on(Provider(START, json=as_json), half, [fault]) == [fault]
    assert (half.marks, half.clears) == (marks, clears)
    assert (len(half.say(Mark("m"))), len(half.say(Clear()))) == (marks, clears)


@in_both
@given(events=st.lists(
    st.builds(Mark, st.text()) | st.sampled_from([Clear(), Alive(), Stop()])
))  # fmt: skip
def test_asterisk_hears_what_the_service_says(as_json: bool, events: list[Event]) -> None:
    service, provider = started(as_json), Provider(START, json=as_json)
    for event in events:
        [told] = passed_on(service, provider, [event])
        if isinstance(told, Mark):
            # Asterisk cannot carry every name; the mark comes back under its own.
            [told] = passed_on(provider, service, [told])
        assert told == event


@in_both
@given(events=st.lists(
    DIGITS | st.builds(Flow, open=st.booleans()) | st.builds(Fault, st.text(min_size=1))
))  # fmt: skip
def test_the_service_hears_what_asterisk_says(as_json: bool, events: list[Event]) -> None:
    assert passed_on(Provider(START, json=as_json), started(as_json), events) == events


@given(audio=st.binary(max_size=64))
def test_audio_is_passed_on(audio: bytes) -> None:
    provider, service = DIALECT.peer(START), started(as_json=True)
    assert provider.hear(service.audio(audio)) == audio == service.hear(provider.audio(audio))


@in_both
def test_the_service_hears_the_start_that_asterisk_says(as_json: bool) -> None:
    [start] = passed_on(Provider(START, json=as_json), DIALECT.service({"v": "1"}), [START])
    assert isinstance(start, Start)
    assert (start.heard, start.stream_id, start.call_id) == (ULAW, "conn1", "pbx1-1.9")
    variables = {"from": "+441", "to": "+442", "lang": "en"} if as_json else {}
    assert start.parameters == {"v": "1"} | variables
    assert (start.from_, start.to) == (("+441", "+442") if as_json else ("", ""))


def test_asterisk_says_no_more_than_it_knows() -> None:
    start = Start(ULAW, ULAW)
    [said] = Provider(start).say(start)
    assert json.loads(said)["channel_variables"] == {}
    [said] = Provider(START, json=False).say(START)
    assert [word.split(":")[0] for word in said.split()] == [
        "MEDIA_START", "channel_id", "connection_id", "channel", "format", "optimal_frame_size",
        "ptime",
    ]  # fmt: skip


@in_both
def test_asterisk_says_that_it_is_there_and_hangs_up_by_closing(as_json: bool) -> None:
    provider = Provider(START, json=as_json)
    assert passed_on(provider, started(as_json), [Alive(), Digits("1#")]) == [
        Digits("1"), Digits("#"),
    ]  # fmt: skip
    assert len(provider.say(Alive())) == 1
    assert provider.say(Stop()) == provider.say(Cleared()) == ()


@pytest.mark.parametrize(("as_json", "command", "expected"), [
    (True, "HANGUP", ("not_json", 1007)),
    (True, '{"command":"DANCE"}', ("unknown_event", None)),
    (True, '{"command":"HANGUP","more":"' + "x" * 100 + '"}', ("bad_event", None)),
    (False, "DANCE", ("unknown_event", None)),
    (False, "hangup", ("unknown_event", None)),
    (False, "MARK_MEDIA " + "é" * 60, ("bad_event", None)),
])  # fmt: skip
def test_asterisk_passes_over_what_it_does_not_know(
    as_json: bool, command: str, expected: Any
) -> None:
    assert slip(Provider(START, json=as_json), command) == expected


def test_asterisk_takes_commands_that_the_service_has_no_use_for() -> None:
    assert Provider(START, json=False).hear("STOP_MEDIA_BUFFERING id") == ()
    assert Provider(START).hear('{"command":"ANSWER"}') == ()
    for other in (Start(ULAW, SLIN), Start(Format("ulaw", 16000), Format("ulaw", 16000))):
        with pytest.raises(ValueError, match="Asterisk has no"):
            DIALECT.peer(other)
