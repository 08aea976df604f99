"""The messages of jambonz and ours, at /ws/jambonz."""

import json
from array import array
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dialects.events import (
    Clear,
    Cleared,
    Digits,
    Event,
    Format,
    Mark,
    Message,
    Start,
    Stop,
)
from service.dialects.half import Half
from service.dialects.jambonz import DIALECT
from tests.dialects.halves import DIGITS, LINEAR, heard, passed_on, slip

L16 = Format("pcm16", 8000)
METADATA = {"sampleRate": 8000, "mixType": "mono", "callSid": "c-1", "from": "+441", "to": "+442"}
START = Start(L16, L16, "", "c-1", "+441", "+442", {"lang": "en"})


def started(**members: Any) -> Half:
    half = DIALECT.service({})
    half.hear(json.dumps(METADATA | members))
    return half


def given_back(name: str, event: str = "playout") -> str:
    return json.dumps({"type": "mark", "data": {"name": name, "event": event}})


def test_a_call_from_begin_to_end() -> None:
    half = DIALECT.service({})
    metadata = METADATA | {"direction": "inbound", "sipStatus": 200, "customerData": {"plan": "b"}}
    assert heard(half, [json.dumps(metadata)]) == [
        Start(
            L16, L16, "", "c-1", "+441", "+442",
            {"direction": "inbound", "sipStatus": "200", "plan": "b"}, metadata,
        )
    ]  # fmt: skip
    frame = bytes(320)
    assert half.hear(frame) is frame is half.audio(frame)
    said = [text for event in (Mark("m"), Clear(), Stop()) for text in half.say(event)]
    assert [json.loads(text) for text in said] == [
        {"type": "mark", "data": {"name": "m"}},
        {"type": "killAudio"},
        {"type": "disconnect"},
    ]
    assert heard(half, [
        '{"event":"dtmf","dtmf":"2","duration":"1600"}',
        given_back("m"),
        given_back("m"),
        '{"type":"playDone","data":{"id":"p"}}',
        b"",
    ]) == [Digits("2"), Mark("m"), b""]  # fmt: skip
    assert half.say(Message(1)) == half.say(Digits("1")) == ()


@pytest.mark.parametrize(("members", "rate"), [
    ({"sampleRate": 16000, "mixType": "mixed"}, 16000), ({"sampleRate": "24000"}, 24000),
])  # fmt: skip
def test_the_metadata_tell_the_rate(members: dict[str, Any], rate: int) -> None:
    [start] = heard(DIALECT.service({}), [json.dumps(members)])
    assert start == Start(Format("pcm16", rate), Format("pcm16", rate), said=members)


@pytest.mark.parametrize("members", [
    {"mixType": "stereo"}, {"sampleRate": 64000}, {"sampleRate": None}, {"sampleRate": [8000]},
])  # fmt: skip
def test_other_audio_is_refused(members: dict[str, Any]) -> None:
    assert slip(DIALECT.service({}), json.dumps(METADATA | members)) == ("format", 1003)


@pytest.mark.parametrize(("message", "expected"), [
    ("hello", ("not_json", 1007)),
    ("[]", ("bad_event", None)),
    ("{}", ("unknown_event", None)),
    ('{"type":"other"}', ("unknown_event", None)),
    ('{"event":"other"}', ("unknown_event", None)),
    ('{"event":"dtmf"}', ("bad_event", None)),
    ('{"event":"dtmf","dtmf":"x"}', ("bad_event", None)),
    ('{"type":"mark"}', ("bad_event", None)),
    ('{"type":"mark","data":{"name":1}}', ("bad_event", None)),
    (json.dumps(METADATA), ("second_start", None)),
])  # fmt: skip
def test_each_slip_has_its_code(message: str, expected: tuple[str, int | None]) -> None:
    assert slip(started(), message) == expected


@pytest.mark.parametrize("message", [bytes(320), '{"event":"dtmf","dtmf":"2"}'])
def test_nothing_is_heard_before_the_start(message: bytes | str) -> None:
    assert slip(DIALECT.service({}), message) == ("before_start", None)


@given(pieces=st.lists(st.binary(max_size=9)))
def test_samples_may_be_split_between_messages(pieces: list[bytes]) -> None:
    audio = b"".join(pieces)
    for half in (started(), DIALECT.peer(START)):
        parts = [half.hear(piece) for piece in pieces]
        assert all(isinstance(part, bytes) and not len(part) % 2 for part in parts)
        assert b"".join(parts) == audio[: len(audio) & ~1]  # type: ignore[arg-type]


@given(events=st.lists(st.builds(Mark, st.text()) | st.sampled_from([Clear(), Stop()])))
def test_jambonz_hears_what_the_service_says(events: list[Event]) -> None:
    service, provider = started(), DIALECT.peer(START)
    for event in events:
        [told] = passed_on(service, provider, [event])
        if isinstance(told, Mark):
            # jambonz cannot carry every name; the mark comes back under its own.
            assert not set('"\\') & set(told.name)
            [told] = passed_on(provider, service, [told])
        assert told == event


@given(events=st.lists(DIGITS))
def test_the_service_hears_what_jambonz_says(events: list[Event]) -> None:
    assert passed_on(DIALECT.peer(START), started(), events) == events


@given(audio=LINEAR)
def test_audio_is_passed_on(audio: bytes) -> None:
    provider, service = DIALECT.peer(START), started()
    assert provider.hear(service.audio(audio)) == audio == service.hear(provider.audio(audio))


def test_the_service_hears_the_start_that_jambonz_says() -> None:
    [start] = passed_on(DIALECT.peer(START), DIALECT.service({}), [START])
    assert isinstance(start, Start)
    assert start == Start(
        L16, L16, "", "c-1", "+441", "+442", {"lang": "en"}, {"lang": "en"} | METADATA
    )


def test_jambonz_says_several_keys_one_by_one_and_hangs_up_by_closing() -> None:
    provider = DIALECT.peer(START)
    assert passed_on(provider, started(), [Digits("1#")]) == [Digits("1"), Digits("#")]
    assert provider.say(Stop()) == provider.say(Cleared()) == ()


def test_jambonz_says_which_marks_it_has_dropped() -> None:
    half = DIALECT.peer(START)
    for name in ("played", "dropped"):
        half.hear(json.dumps({"type": "mark", "data": {"name": name}}))
    half.say(Mark("played"))
    half.hear(json.dumps({"type": "killAudio"}))
    [said] = half.say(Mark("dropped"))
    assert json.loads(said)["data"] == {"name": "dropped", "event": "cleared"}
    half.hear(json.dumps({"type": "mark", "data": {"name": "dropped"}}))
    [said] = half.say(Mark("dropped"))
    assert json.loads(said)["data"]["event"] == "playout"


def test_jambonz_refuses_what_it_does_not_know() -> None:
    assert slip(DIALECT.peer(START), '{"type":"dance"}') == ("unknown_event", None)
    for other in (
        Start(Format("ulaw", 8000), Format("ulaw", 8000)),
        Start(L16, Format("pcm16", 1)),
    ):
        with pytest.raises(ValueError, match="linear"):
            DIALECT.peer(other)


class Fork:
    """What mod_audio_fork does with marks: in its audio a sample of -1 stands for each."""

    def __init__(self) -> None:
        self.service = started()
        self.samples: deque[int] = deque()
        self.new: list[str] = []
        self.within: list[str] = []
        self.cleared: list[str] = []

    def play(self, *samples: int) -> None:
        message = self.service.audio(array("h", samples).tobytes())
        assert isinstance(message, bytes)
        self.samples += [-1] * len(self.new) + list(array("h", message))
        self.within += self.new
        self.new = []

    def say(self, event: Event) -> None:
        for message in self.service.say(event):
            told = json.loads(message)
            if told["type"] == "mark" and len(self.new + self.within) < 30:
                self.new.append(told["data"]["name"])
            elif told["type"] == "killAudio":
                self.samples.clear()
                for name in self.within + self.new:
                    self.service.hear(given_back(name, "cleared"))
                self.cleared += self.within
                self.within, self.new = [], []

    def hear(self, samples: int) -> list[Event | bytes]:
        """Have samples heard; return what the service hears."""
        back = []
        for _ in range(min(samples, len(self.samples))):
            if self.samples.popleft() == -1 and self.cleared + self.within:
                if self.cleared:
                    self.cleared.pop(0)
                else:
                    back.append(self.within.pop(0))
        if not self.samples and not self.within + self.cleared:
            back, self.new = back + self.new, []
        return heard(self.service, map(given_back, back))


def test_no_sample_counts_as_a_mark() -> None:
    fork = Fork()
    fork.say(Mark("begin"))
    fork.play(-1, 5, -1, -2)
    fork.say(Mark("end"))
    fork.play(7, -1)
    assert fork.hear(4) == [Mark("begin")]
    assert fork.hear(4) == [Mark("end")]
    assert fork.service.audio(array("h", [-1, 5, -1]).tobytes()) == array("h", [0, 5, 0]).tobytes()


def test_marks_come_back_in_time_after_a_clear() -> None:
    fork = Fork()
    fork.play(1, 2)
    fork.say(Mark("cut"))
    fork.play(3, 4)
    fork.say(Clear())
    fork.play(5, 6)
    fork.say(Mark("after"))
    fork.play(7, 8)
    assert fork.hear(100) == [Mark("after")]
    fork.say(Mark("last"))
    assert fork.hear(100) == [Mark("last")]
    assert fork.service.audio(bytes(4)) == bytes(4)


def test_a_mark_beyond_thirty_is_heard_with_the_mark_before_it() -> None:
    fork = Fork()
    for number in range(32):
        fork.say(Mark(str(number)))
    assert len(fork.new) == 30
    fork.play(1)
    assert fork.hear(100) == [Mark(str(number)) for number in range(32)]
    fork.say(Mark("free again"))
    assert fork.hear(100) == [Mark("free again")]


def test_marks_that_jambonz_dropped_take_no_place() -> None:
    service = started()
    for number in range(30):
        service.say(Mark(str(number)))
    assert service.hear(given_back("28")) == (Mark("28"),)
    assert len(service.say(Mark("next"))) == 1
    assert service.hear(given_back("0")) == ()
    assert service.hear(given_back("29")) == (Mark("29"),)
