"""What a dialect is: two halves, and what a peer that speaks it needs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.dialects.events import Event, Format, Start

#: What goes over a WebSocket: text, or binary.
Message = bytes | str


class Half(Protocol):
    """One end of one stream: the service's, or the peer's. It keeps the stream's state.

    What one half says, the other half hears.
    """

    #: Whether the other end says when a mark was heard, and drops audio at a clear.
    marks: bool
    clears: bool

    def hear(self, message: Message) -> bytes | tuple[bytes | Event, ...]:
        """Return what a message says, in order. The usual case is audio alone: bytes.

        At most one item is audio, of whole samples. Raises BadMessage.
        """

    def audio(self, audio: bytes) -> Message:
        """Return the message that carries audio: whole samples, one at least."""

    def say(self, event: Event) -> Sequence[Message]:
        """Return the messages that say an event: none where the dialect has no word for it."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One dialect.

    `service` makes our half, from the parameters of the URL's query. `peer` makes the other half:
    it begins a stream by saying `Start`.

    The peer offers one of `subprotocols`, if it wants one agreed on. Audio is sent to it
    `lead_seconds` ahead of the clock; with `frame_seconds` in frames of exactly so many. A peer
    that cannot stand WebSocket `pings` is told `Alive` instead. `hangup_causes` says that it closes
    with the cause of the hang-up (ITU-T Q.850) for a code. `returns_marks` says that a clear brings
    the marks back which wait. A call may have one of `formats`, and has the first by default. Where
    the peer does not say which, the URL must: `query` returns its parameters.
    """

    name: str
    service: Callable[[Mapping[str, str]], Half]
    peer: Callable[[Start], Half]
    subprotocols: tuple[str, ...] = ()
    frame_seconds: float | None = None
    lead_seconds: float = 0.2
    pings: bool = True
    hangup_causes: bool = False
    returns_marks: bool = False
    formats: tuple[Format, ...] = (Format("ulaw", 8000),)
    query: Callable[[Format], Mapping[str, str]] = lambda _: {}
