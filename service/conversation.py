"""The hinge between sockets and calls: messages, who answers them, and what carries them.

A link carries a conversation and says how it ended; it knows nothing of audio. Back-pressure is
the absence of reading: while a reply cannot be written, nothing is read. So a peer that does not
read costs a bounded number of bytes, until the send deadline ends its call.

A conversation answers messages, and by its mouth it speaks unasked.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

from service.ending import Ending

Message = bytes | str
#: A reply that takes long, made in pieces: each `next` does one, the last returns the reply.
Work = Generator[None, None, Message | None]

#: How long the peer may take over the close handshake, in seconds.
CLOSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one conversation, in bytes and seconds.

    `idle_seconds` without a message end it. A reply must be written within `send_seconds`. After
    `ping_seconds` without a byte the peer gets a ping; after `pong_seconds` more without a byte it
    counts as gone. 0 for `ping_seconds` means that nobody does. Without `pings` the conversation
    itself has the peer show that it is there. With `hangup_causes` a peer may close with the cause
    of its hang-up for a code (ITU-T Q.850: 1 to 127).
    """

    message_bytes: int
    idle_seconds: float
    send_seconds: float
    ping_seconds: float
    pong_seconds: float
    pings: bool = True
    hangup_causes: bool = False


class Mouth(Protocol):
    """How a conversation speaks unasked; the link gives it. Every method returns at once."""

    @property
    def unwritten(self) -> int:
        """How many bytes wait for the peer to read."""

    def say(self, message: Message, /) -> None:
        """Write a message, or keep it behind what waits."""

    def hold(self, held: bool, /) -> None:
        """Read nothing more from the peer, or read on. A few messages may be read already."""

    def end(self, ending: Ending, /) -> None:
        """End the conversation once all that was said is written."""


class Conversation(Protocol):
    """One side of a call, without I/O. Every method returns at once; only the link waits."""

    def begin(self, mouth: Mouth, /) -> None:
        """Take the mouth, and say what comes before the first message."""

    def receive(self, message: Message, /) -> Message | Ending | Work | None:
        """Return the reply to a message, the ending that it brings, or long work in pieces.

        None is no reply.
        """

    def replied(self, message: Message, seconds: float, /) -> None:
        """Take note of a reply, written so many seconds after its message was read."""


class Link(ABC):
    """One connection that can carry one conversation, and is closed after it."""

    @abstractmethod
    async def carry(self, conversation: Conversation, limits: Limits) -> Ending:
        """Reply to each message until the conversation is over; return how it ended."""

    @property
    def unsent_bytes(self) -> int:
        """How many bytes wait until the peer reads, as far as the link knows."""
        return 0

    @abstractmethod
    async def close(self, ending: Ending) -> None:
        """Tell the peer how it ended, if anybody is there, and close the connection.

        This takes CLOSE_SECONDS at most, whatever the peer does.
        """
