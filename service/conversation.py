"""The hinge between sockets and calls: messages, who answers them, and what carries them.

A link carries a conversation, knows nothing of audio, and says how it ended. Back-pressure is
the absence of reading: while a reply cannot be written nothing is read, so a peer that does not
read costs what is in flight and no more, until the send deadline drops it.
"""

from abc import ABC, abstractmethod
from time import perf_counter
from typing import Any, Protocol

import trio

from service.ending import ABORTED, STUCK, Ending, idle

Message = bytes | str

#: How long the peer may take over the close handshake, in seconds.
CLOSE_SECONDS = 1.0


class Conversation(Protocol):
    """What a link carries: a reply, or the ending, for each message."""

    def receive(self, message: Message) -> Message | Ending:
        """Return the reply to a message, or the ending that it brings."""

    def replied(self, message: Any, reply: Any, seconds: float) -> None:
        """Take note that the reply was written, so many seconds after its message was read."""


class Link(ABC):
    """One connection as messages.

    `receive` gives a message, or the ending once there will be none. `send` raises
    trio.BrokenResourceError when the peer is gone and trio.TooSlowError past the send deadline.
    Both may be cancelled; what a cancelled send has written is unknown, so only `close` follows.
    """

    @abstractmethod
    async def receive(self) -> Message | Ending:
        """Return the next message, or how the connection ended."""

    @abstractmethod
    async def send(self, message: Message) -> None:
        """Write one message."""

    @abstractmethod
    async def close(self, ending: Ending) -> None:
        """Tell the peer how it ended, if there is anybody to tell, and let the connection go.

        Takes CLOSE_SECONDS at most, whatever the peer does.
        """

    async def carry(self, conversation: Conversation, idle_seconds: float) -> Ending:
        """Reply to each message until the call is over; return how it ended."""
        while True:
            with trio.move_on_after(idle_seconds) as silence:
                message = await self.receive()
            if silence.cancelled_caught:
                return idle(idle_seconds)
            if isinstance(message, Ending):
                return message
            began = perf_counter()
            reply = conversation.receive(message)
            if isinstance(reply, Ending):
                return reply
            try:
                await self.send(reply)
            except trio.TooSlowError:
                return STUCK
            except trio.BrokenResourceError:
                return ABORTED
            conversation.replied(message, reply, perf_counter() - began)
