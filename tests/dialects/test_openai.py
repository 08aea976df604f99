"""The half that speaks with OpenAI Realtime; each message is judged by the package `openai`."""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from service.dialects.events import (
    BadMessage,
    Clear,
    Cleared,
    Digits,
    Event,
    Fault,
    Flow,
    Format,
    Mark,
    Message,
    Slip,
    Start,
    Stop,
)
from service.dialects.openai import FORMATS, Client

PCM, ULAW = Format("pcm16", 24000), Format("ulaw", 8000)
NAMES = {"pcm16": "audio/pcm", "ulaw": "audio/pcmu", "alaw": "audio/pcma"}


#: What the model has told, and the package has yet to judge.
TOLD: list[dict[str, Any]] = []


@cache
def judge(events: str) -> TypeAdapter[Any]:
    """Return what judges the package's events of this name."""
    # Each worker collects these tests, and one runs them: only that one has to wait for the import.
    from openai.types import realtime

    return TypeAdapter(getattr(realtime, events))


@pytest.fixture(autouse=True)
def judged() -> Iterator[None]:
    """Have the package judge what the model has told."""
    yield
    while TOLD:
        judge("RealtimeServerEvent").validate_python(TOLD.pop(), strict=True)


def told(kind: str, **members: Any) -> str:
    """Return a message of the model's."""
    TOLD.append({"type": kind, "event_id": "event_1", **members})
    return json.dumps(TOLD[-1])


def updated(sent: str = "audio/pcmu", played: str = "audio/pcmu") -> str:
    audio = {"input": {"format": {"type": sent}}, "output": {"format": {"type": played}}}
    return told("session.updated", session={"type": "realtime", "id": "sess_1", "audio": audio})


def audio(data: bytes, item: str = "item_1", response: str = "resp_1") -> str:
    return told("response.output_audio.delta", response_id=response, item_id=item, output_index=0,
                content_index=0, delta=b64encode(data).decode())  # fmt: skip


def done(response: str = "resp_1", status: str = "completed", **details: Any) -> str:
    return told("response.done", response={"id": response, "status": status, **details})


CREATED = told("response.created", response={"id": "resp_1", "status": "in_progress"})
SPEECH = told("input_audio_buffer.speech_started", audio_start_ms=1200, item_id="item_9")


def talking(played: Format = ULAW) -> Client:
    """Return a half whose formats the model has confirmed."""
    half = Client(Start(ULAW, played), {})
    half.hear(updated(played=NAMES[played.encoding]))
    return half


def said(half: Client, event: Event) -> list[dict[str, Any]]:
    """Return what the half says of an event, as the package understands it."""
    messages = half.say(event)
    client = judge("RealtimeClientEvent")
    return [client.validate_json(each).model_dump(exclude_none=True) for each in messages]


@pytest.mark.parametrize("heard", FORMATS)
@pytest.mark.parametrize("played", FORMATS)
def test_the_session_is_the_users_and_its_formats_are_the_calls(
    heard: Format, played: Format
) -> None:
    session = {"instructions": "Be brief.", "audio": {"output": {"voice": "marin"}}}
    start = Start(heard, played, call_id="1")
    half = Client(start, session)
    [update] = said(half, start)
    names = NAMES[heard.encoding], NAMES[played.encoding]
    into, out = update["session"]["audio"]["input"], update["session"]["audio"]["output"]
    assert (into["format"]["type"], out["format"]["type"]) == names
    assert (update["session"]["instructions"], out["voice"]) == ("Be brief.", "marin")
    [event] = half.hear(updated(*names))
    assert isinstance(event, Start)
    assert (event.heard, event.played, event.stream_id) == (played, heard, "sess_1")
    assert half.hear(updated(*names)) == ()


def test_an_update_of_the_users_cannot_change_the_formats() -> None:
    half = talking()
    [update] = said(half, Message({"type": "session.update", "session": {"instructions": "Hi"}}))
    assert update["session"]["instructions"] == "Hi"
    assert update["session"]["audio"]["output"] == {"format": {"type": "audio/pcmu"}}


def test_formats_that_the_model_does_not_have_are_an_error_of_who_asks() -> None:
    with pytest.raises(ValueError, match="the formats must be of"):
        Client(Start(Format("pcm16", 8000), ULAW), {})


@pytest.mark.parametrize("message", [
    updated("audio/pcm"), updated(played="audio/pcma"),
    told("session.updated", session={"type": "realtime"}),
])  # fmt: skip
def test_a_model_that_falls_back_on_another_format_ends_the_call(message: str) -> None:
    half = Client(Start(ULAW, ULAW), {})
    with pytest.raises(BadMessage, match=r"the model's formats are .*, not .*audio/pcmu") as bad:
        half.hear(message)
    assert (bad.value.slip, bad.value.code) == (Slip.FORMAT, 1003)


@given(data=st.binary(min_size=1))
def test_audio_is_base64_both_ways(data: bytes) -> None:
    half = talking()
    event = judge("RealtimeClientEvent").validate_json(half.audio(data))
    assert event.type == "input_audio_buffer.append"
    assert b64decode(event.audio) == data == half.hear(audio(data))


def test_a_response_that_was_heard_in_part_is_truncated_there() -> None:
    half = talking()
    half.hear(CREATED)
    half.hear(audio(bytes(8000)))
    half.hear(audio(bytes(8000), "item_2"))
    assert half.hear(SPEECH) == (Clear(),)
    assert said(half, Cleared(1.7401)) == [
        {"type": "response.cancel", "response_id": "resp_1"},
        {"type": "conversation.item.truncate", "item_id": "item_2", "content_index": 0,
         "audio_end_ms": 740},
    ]  # fmt: skip


def test_a_response_that_is_done_is_not_cancelled() -> None:
    half = talking()
    half.hear(audio(bytes(8000)))
    half.hear(done())
    half.hear(SPEECH)
    [truncate] = said(half, Cleared(0.5))
    assert truncate["type"] == "conversation.item.truncate"


def test_a_response_that_the_model_has_cancelled_itself_is_not_cancelled_again() -> None:
    half = talking()
    half.hear(audio(bytes(8000)))
    half.hear(SPEECH)
    half.hear(done(status="cancelled"))
    [truncate] = said(half, Cleared(0.5))
    assert truncate["type"] == "conversation.item.truncate"


@pytest.mark.parametrize("seconds", [0.0, 0.0005, 1.0, 2.0, None])
def test_what_was_heard_to_its_end_or_not_at_all_is_not_truncated(seconds: float | None) -> None:
    half = talking()
    half.hear(audio(bytes(8000)))
    half.hear(done())
    half.hear(SPEECH)
    assert said(half, Cleared(seconds)) == []


def test_what_a_cancelled_response_still_says_is_dropped() -> None:
    half = talking()
    half.hear(CREATED)
    half.hear(SPEECH)
    assert half.hear(audio(b"ab")) == ()
    assert half.hear(audio(b"ab", "item_2", "resp_2")) == b"ab"
    half.hear(done(status="cancelled"))
    assert half.hear(audio(b"cd", "item_2", "resp_2")) == b"cd"


def test_a_clear_of_our_own_cancels_too() -> None:
    half = talking()
    half.hear(audio(bytes(8000)))
    cancel, truncate = said(half, Cleared(0.25))
    assert (cancel["type"], truncate["audio_end_ms"]) == ("response.cancel", 250)
    assert half.hear(audio(bytes(8000))) == ()


def test_what_was_said_after_a_clear_counts_from_there() -> None:
    half = talking(PCM)
    half.hear(audio(bytes(48000)))
    half.hear(SPEECH)
    half.hear(audio(bytes(48000), "item_2", "resp_2"))  # before the clear is answered
    half.hear(SPEECH)
    half.hear(audio(bytes(48000), "item_3", "resp_3"))
    ends = [
        (each["item_id"], each["audio_end_ms"])
        for seconds in (0.3, 0.7, 1.5)
        for each in said(half, Cleared(seconds))
        if each["type"] == "conversation.item.truncate"
    ]
    assert ends == [("item_1", 300), ("item_2", 400), ("item_3", 800)]


@given(
    steps=st.lists(st.tuples(st.integers(1, 20000), st.floats(0, 3)), max_size=6), rate=st.data()
)
def test_no_item_is_truncated_beyond_what_was_made(
    steps: list[tuple[int, float]], rate: st.DataObject
) -> None:
    played = rate.draw(st.sampled_from(FORMATS))
    half, second = talking(played), 48000 if played == PCM else 8000
    base = 0.0
    for number, (samples, heard) in enumerate(steps):
        made = samples * second // played.rate
        half.hear(audio(bytes(made), f"item_{number}", f"resp_{number}"))
        base += min(heard, made / second)
        for each in said(half, Cleared(base)):
            if each["type"] == "conversation.item.truncate":
                assert each["item_id"] == f"item_{number}"
                assert 0 < each["audio_end_ms"] <= 1000 * made / second


@pytest.mark.parametrize(("message", "event"), [
    (told("error", error={"type": "invalid_request_error", "message": "No.", "code": "x"}),
     Fault("No.")),
    (done(status="failed"), None),
    (done(status="failed", status_details={"type": "failed", "error": {"type": "server_error"}}),
     Fault("a response failed: server_error")),
    (told("input_audio_buffer.speech_stopped", audio_end_ms=1, item_id="i"), None),
    (told("session.created", session={"type": "realtime"}), None),
])  # fmt: skip
def test_other_events_are_told_as_they_are(message: str, event: Event | None) -> None:
    assert talking().hear(message) == (event or Message(json.loads(message)),)


def test_a_cancel_that_came_too_late_is_no_fault() -> None:
    error = {"type": "invalid_request_error", "message": "No response",
             "code": "response_cancel_not_active"}  # fmt: skip
    assert talking().hear(told("error", error=error)) == ()


@pytest.mark.parametrize(("message", "slip", "code"), [
    (b"{}", Slip.KIND, 1003),
    ("{", Slip.NOT_JSON, 1007),
    ('{"type": "x", "x": ' + "[" * 60_000, Slip.NOT_JSON, 1007),
    ('{"type": "x", "x": ', Slip.NOT_JSON, 1007),
    ("[]", Slip.BAD_EVENT, None),
    ('{"type": "response.output_audio.delta"}', Slip.BAD_EVENT, None),
    (audio(b"abc").replace("YWJj", "YW*j"), Slip.BAD_BASE64, 1007),
    (audio(b"abc"), Slip.HALF_SAMPLE, 1007),
])  # fmt: skip
def test_slips(message: bytes | str, slip: Slip, code: int | None) -> None:
    with pytest.raises(BadMessage) as bad:
        talking(PCM).hear(message)
    assert (bad.value.slip, bad.value.code) == (slip, code)


def test_audio_before_its_format_is_confirmed_is_skipped() -> None:
    with pytest.raises(BadMessage) as bad:
        Client(Start(ULAW, ULAW), {}).hear(audio(b"ab"))
    assert (bad.value.slip, bad.value.code) == (Slip.BEFORE_START, None)


@pytest.mark.parametrize("event", [Mark("x"), Clear(), Digits("1"), Flow(open=True), Stop()])
def test_there_is_no_word_for_some_events(event: Event) -> None:
    assert talking().say(event) == ()
