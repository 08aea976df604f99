"""What waits for a handler."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.calls.inbox import CHARACTERS, EVENTS, FRAMES, HEAR_SECONDS, Inbox
from service.dialects.events import Digits, Event, Message
from service.tally import Tally

#: 8 kHz.
RATE, FRAME = 16000, bytes(320)
MOST = int(HEAR_SECONDS * 50)


def inbox(*, live: bool = False, listening: bool = True) -> Inbox:
    box = Inbox(RATE, Tally((), ()), live=live)
    box.listening = listening
    return box


def dropped(box: Inbox) -> dict[str, int]:
    return {name: count for name, count in box._tally.frames_dropped.items() if count}


def numbered(count: int) -> Iterator[bytes]:
    return (number.to_bytes(2) * 160 for number in range(count))


def rest(box: Inbox) -> list[bytes | Event]:
    items = []
    while box.items:
        items.append(box.take())
    return items


def test_audio_and_events_come_out_in_the_order_in_which_they_came() -> None:
    box = inbox()
    items: list[bytes | Event] = [b"ab", Digits("1"), b"cd", Message(None), Digits("2")]
    for item in items:
        box.keep(item)
    assert box.seconds == 4 / RATE
    assert rest(box) == items
    assert box.seconds == 0
    assert not box.items


def test_while_the_handler_listens_nothing_is_lost_and_the_inbox_says_when_it_is_full() -> None:
    box, frames = inbox(), list(numbered(MOST + 50))
    for number, frame in enumerate(frames, 1):
        box.keep(frame)
        assert box.full == (number > MOST)
        assert box.half_empty == (number <= MOST / 2)
    assert rest(box) == frames
    assert dropped(box) == {}


def test_too_many_events_make_it_full_too() -> None:
    box = inbox()
    events = [Digits(f"{number}") for number in range(EVENTS + 10)]
    for number, event in enumerate(events, 1):
        box.keep(event)
        assert box.full == (number > EVENTS)
        assert box.half_empty == (number <= EVENTS / 2)
    assert rest(box) == events


@pytest.mark.parametrize("long", [
    Digits("1" * (CHARACTERS // 4)), Message(None, characters=CHARACTERS // 4),
])  # fmt: skip
def test_long_events_make_it_full_too(long: Event) -> None:
    box = inbox()
    for number in range(1, 7):
        box.keep(long)
        assert box.full == (number > 4)
        assert box.half_empty == (number <= 2)
    assert rest(box) == [long] * 6
    assert box.half_empty


def test_frames_of_no_length_worth_mentioning_make_it_full_too() -> None:
    box = inbox()
    for number in range(1, FRAMES + 2):
        box.keep(b"ab")
        assert box.full == (number > FRAMES)
        assert box.half_empty == (number <= FRAMES / 2)


@pytest.mark.parametrize(("live", "listening", "reason"), [
    (True, True, "live"), (True, False, "live"), (False, False, "unheard"),
])  # fmt: skip
def test_of_a_caller_that_cannot_wait_or_that_nobody_hears_the_oldest_audio_goes(
    live: bool, listening: bool, reason: str
) -> None:
    box, frames = inbox(live=live, listening=listening), list(numbered(MOST + 7))
    events = [Digits("1"), Digits("2")]
    box.keep(events[0])
    for number, frame in enumerate(frames):
        box.keep(frame)
        if number == 3:
            box.keep(events[1])
        assert not box.full
    assert rest(box) == [*events, *frames[7:]]
    assert dropped(box) == {reason: 7}


@pytest.mark.parametrize(("live", "listening"), [(True, True), (False, False)])
def test_of_events_the_newest_goes(live: bool, listening: bool) -> None:
    box = inbox(live=live, listening=listening)
    box.keep(FRAME)
    for number in range(EVENTS + 5):
        box.keep(Message(number))
        assert not box.full
    assert rest(box) == [FRAME, *map(Message, range(EVENTS))]
    assert dropped(box) == {}


def test_audio_longer_than_the_bound_is_dropped_and_the_next_is_kept() -> None:
    box = inbox(live=True)
    box.keep(bytes(int(RATE * HEAR_SECONDS) + 2))
    assert not box.items
    box.keep(FRAME)
    assert rest(box) == [FRAME]
    assert dropped(box) == {"live": 1}


@given(
    items=st.lists(st.one_of(st.integers(0, 40000), st.none()), max_size=200),
    live=st.booleans(),
    listening=st.booleans(),
)
def test_no_more_than_the_bounds_is_kept_whatever_comes(
    items: list[int | None], live: bool, listening: bool
) -> None:
    box, came = inbox(live=live, listening=listening), list[bytes | Event]()
    for item in items:
        came.append(Digits("1") if item is None else bytes(item))
        box.keep(came[-1])
        assert (live or not listening) <= (not box.full)
    kept = rest(box)
    frames = [item for item in came if isinstance(item, bytes)]
    assert len([item for item in kept if isinstance(item, bytes)]) == len(frames) - sum(
        dropped(box).values()
    )
    assert box.seconds == 0
    assert box.half_empty
    if listening and not live:
        assert kept == came
