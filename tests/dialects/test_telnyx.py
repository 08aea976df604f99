"""Telnyx media streaming: what is its own, beside test_media.py."""

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dialects.events import (
    BadMessage,
    Clear,
    Digits,
    Event,
    Fault,
    Format,
    Lost,
    Mark,
    Start,
    Stop,
)
from service.dialects.telnyx import Provider, Service

ULAW, ALAW = Format("ulaw", 8000), Format("alaw", 8000)
LOST = "lost"
START: dict[str, Any] = {
    "event": "start",
    "sequence_number": "1",
    "stream_id": "s8",
    "start": {
        "user_id": "u7",
        "call_control_id": "v2:c9",
        "call_session_id": "x6",
        "from": "+4930111",
        "to": "+4930222",
        "tags": ["a"],
        "client_state": "YQ==",
        "custom_parameters": {"shop": "7"},
        "media_format": {"encoding": "PCMA", "sample_rate": 8000, "channels": 1},
    },
}


def service() -> Service:
    half = Service({})
    half.hear(json.dumps(START))
    return half


def media(chunk: int) -> str:
    """Return a message with the chunk's number as its audio."""
    audio = {"chunk": str(chunk), "payload": b64encode(bytes([chunk])).decode()}
    return json.dumps({"event": "media", "stream_id": "s8", "media": audio})


def heard(half: Service, chunks: Sequence[int]) -> list[bytes | Event | str]:
    """Return what is heard of each chunk in turn; LOST where one is too late."""
    told: list[bytes | Event | str] = []
    for chunk in chunks:
        try:
            each = half.hear(media(chunk))
            told += [each] if isinstance(each, bytes) else each
        except BadMessage as bad:
            told.append(bad.slip)
    return told


def test_a_call_of_telnyx_is_heard() -> None:
    half, numbered = Service({}), {"sequence_number": "2", "stream_id": "s8"}
    audio = {"track": "inbound", "chunk": "2", "timestamp": "5", "payload": "f39/fw=="}
    error = {"code": 100003, "title": "Bad", "detail": "no audio"}
    told = [half.hear(json.dumps(message)) for message in (
        {"event": "connected", "version": "1.0.0"},
        START,
        {"event": "media", **numbered, "media": audio},
        {"event": "mark", "stream_id": "s8", "mark": {"name": "hello"}},
        {"event": "dtmf", "stream_id": "s8", "dtmf": {"digit": "5"}},
        {"event": "error", "stream_id": "s8", "payload": error},
        {"event": "error", "stream_id": "s8"},
        {"event": "stop", **numbered, "stop": {"user_id": "u7", "call_control_id": "v2:c9"}},
    )]  # fmt: skip
    start = Start(ALAW, ULAW, "s8", "v2:c9", "+4930111", "+4930222", {"shop": "7"}, START)
    assert told == [
        (),
        (start,),
        b"\x7f\x7f\x7f\x7f",
        (Mark("hello"),),
        (Digits("5"),),
        (Fault("100003 Bad no audio"),),
        (Fault('{"stream_id":"s8","event":"error"}'),),
        (Stop(),),
    ]


def test_the_service_says_what_telnyx_takes() -> None:
    half = service()
    said = [half.audio(b"\x7f\x7f\x7f\x7f"), *half.say(Mark("x")), *half.say(Clear())]
    assert [json.loads(message) for message in said] == [
        {"event": "media", "media": {"payload": "f39/fw=="}},
        {"event": "mark", "mark": {"name": "x"}},
        {"event": "clear"},
    ]


def test_the_provider_says_what_telnyx_says() -> None:
    start = Start(ALAW, ULAW, "s8", "v2:c9", "+4930111", parameters={"shop": "7"})
    half = Provider(start)
    said = [*half.say(start), half.audio(bytes(160)), half.audio(b"1"), *half.say(Fault("x"))]
    connected, began, *told = [json.loads(message) for message in said]
    assert connected == {"event": "connected", "version": "1.0.0"}
    assert began["start"].items() <= {**START["start"], "to": "", "user_id": "telnyx"}.items()
    assert [message["sequence_number"] for message in (began, *told)] == list("1234")
    assert [(each["media"]["chunk"], each["media"]["timestamp"]) for each in told[:2]] == [
        ("1", "0"), ("2", "20")]  # fmt: skip
    assert told[2]["payload"] == {"detail": "x"}


@pytest.mark.parametrize(("chunks", "told"), [
    ([4, 5, 6], [b"\4", b"\5", b"\6"]),
    ([4, 6, 5, 7], [b"\4", b"\5\6", b"\7"]),
    ([4, 7, 6, 5, 8], [b"\4", b"\5\6\7", b"\10"]),
    ([4, 4, 3, 5, 5], [b"\4", LOST, LOST, b"\5", LOST]),
    ([4, 6, 6, 5], [b"\4", LOST, b"\5\6"]),
    # The ninth behind the gap still waits, the tenth does not.
    ([4, *range(6, 15), 5], [b"\4", bytes(range(5, 15))]),
    ([4, *range(6, 16), 16, 5], [b"\4", Lost(), bytes(range(6, 16)), b"\20", LOST]),
    # There is a second gap behind the first.
    ([4, *range(6, 9), *range(10, 17), 9], [b"\4", Lost(), b"\6\7\10", bytes(range(9, 17))]),
])  # fmt: skip
def test_audio_is_put_in_order_within_a_bound(chunks: list[int], told: list[Any]) -> None:
    assert heard(service(), chunks) == told


@given(order=st.permutations(range(1, 10)))
def test_any_order_of_nine_chunks_is_put_in_order(order: list[int]) -> None:
    assert b"".join(each for each in heard(service(), [0, *order]) if isinstance(each, bytes)) == (
        bytes(range(10))
    )


@given(chunks=st.lists(st.integers(0, 40)))
def test_audio_is_never_out_of_order_nor_twice(chunks: list[int]) -> None:
    half = service()
    told = [*heard(half, chunks), *half.hear(json.dumps({"event": "stop"}))]
    audio = [*b"".join(each for each in told if isinstance(each, bytes))]
    assert audio == sorted(set(audio))
    assert len(audio) + told.count(LOST) == len(chunks)


@pytest.mark.parametrize(("message", "told"), [
    ({"event": "stop"}, (Lost(), b"\6\7", Stop())),
    ({"event": "dtmf", "dtmf": {"digit": "1"}}, (Lost(), b"\6\7", Digits("1"))),
    ({"event": "mark", "mark": {"name": "x"}}, (Mark("x"),)),
])  # fmt: skip
def test_what_waits_is_heard_before_what_the_caller_does(message: Any, told: Any) -> None:
    half = service()
    assert heard(half, [4, 6, 7]) == [b"\4"]
    assert half.hear(json.dumps(message)) == told
    rest = [LOST, b"\10"] if Lost() in told else [b"\5\6\7", b"\10"]
    assert heard(half, [5, 8]) == rest


@pytest.mark.parametrize("chunk", ["x", "1.5", None, "9" * 5000])
def test_a_chunk_has_a_number(chunk: str | None) -> None:
    audio = {"chunk": chunk, "payload": ""}
    with pytest.raises(BadMessage) as bad:
        service().hear(json.dumps({"event": "media", "stream_id": "s8", "media": audio}))
    assert (bad.value.slip, bad.value.code) == ("bad_event", None)


def played(codec: str, rate: str) -> Format:
    query = {"stream_bidirectional_codec": codec, "stream_bidirectional_sampling_rate": rate}
    [start] = Service(query).hear(json.dumps(START))
    assert isinstance(start, Start)
    return start.played


def test_the_query_says_what_telnyx_plays() -> None:
    assert played("PCMA", "8000") == ALAW
    assert played("L16", "16000") == Format("pcm16", 16000)


@pytest.mark.parametrize(("codec", "rate"), [
    ("OPUS", "8000"), ("L16", "44000"), ("L16", "x"), ("L16", ""), ("L16", "9" * 5000),
])  # fmt: skip
def test_a_query_with_other_audio_ends_the_call(codec: str, rate: str) -> None:
    with pytest.raises(BadMessage) as bad:
        played(codec, rate)
    assert (bad.value.slip, bad.value.code) == ("format", 1003)


@pytest.mark.parametrize("encoding", ["G722", "OPUS", "AMR-WB", "pcmu"])
def test_audio_that_cannot_be_carried_ends_the_call(encoding: str) -> None:
    start = {**START["start"], "media_format": {"encoding": encoding, "sample_rate": 16000}}
    with pytest.raises(
        BadMessage, match=f"of {encoding} cannot be carried, only PCMU, PCMA, L16"
    ) as bad:
        Service({}).hear(json.dumps({**START, "start": start}))
    assert (bad.value.slip, bad.value.code) == ("format", 1003)
