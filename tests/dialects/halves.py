"""Two halves of a dialect, mouth to ear."""

from collections.abc import Iterable

from hypothesis import strategies as st

from service.dialects.events import BadMessage, Digits, Event
from service.dialects.half import Half, Message

DIGITS = st.builds(Digits, st.text("0123456789*#ABCD", min_size=1, max_size=1))
#: Audio of 16-bit samples.
LINEAR = st.binary(max_size=64).map(lambda audio: audio[: len(audio) & ~1])


def heard(half: Half, messages: Iterable[Message]) -> list[bytes | Event]:
    """Return what a half hears in messages."""
    items: list[bytes | Event] = []
    for message in messages:
        told = half.hear(message)
        items += [told] if isinstance(told, bytes) else told
    return items


def passed_on(speaker: Half, listener: Half, events: Iterable[Event]) -> list[bytes | Event]:
    """Return what the listener hears of the events that the speaker says."""
    return heard(listener, [message for event in events for message in speaker.say(event)])


def slip(half: Half, message: Message) -> tuple[str, int | None]:
    """Return the slip and the close code of a message that breaks the rules."""
    try:
        told = half.hear(message)
    except BadMessage as bad:
        return bad.slip, bad.code
    raise AssertionError(f"{message!r} was heard as {told!r}")
