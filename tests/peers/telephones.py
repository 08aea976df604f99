"""A telephone provider's end of a call: it speaks its dialect by the provider's half."""

from collections import deque

from service.audio.encodings import SILENCE
from service.dialects.book import DIALECTS
from service.dialects.events import Event, Format, Start
from tests.peers.callers import Caller

PARAMETERS = {"customer": "c 1"}


class Telephone:
    """One telephone; `heard` has what the service said and nobody has looked at yet."""

    def __init__(
        self,
        caller: Caller,
        dialect: str,
        audio: Format | None = None,
        played: Format | None = None,
    ) -> None:
        audio = audio or DIALECTS[dialect].formats[0]
        self.caller = caller
        self.start = Start(
            audio,
            played or audio,
            "stream-1",
            "call-1",
            "+4930123",
            "+4930456",
            dict(PARAMETERS),
        )
        self.half = DIALECTS[dialect].peer(self.start)
        self._heard: deque[bytes | Event] = deque()
        bytes_a_sample = 2 if audio.encoding == "pcm16" else 1
        self.frame_bytes = audio.rate // 50 * bytes_a_sample
        self.silence = SILENCE[audio.encoding] * self.frame_bytes

    async def begin(self) -> None:
        """Say the start."""
        await self.say(self.start)

    async def say(self, event: Event) -> None:
        """Say an event, as the provider does."""
        for message in self.half.say(event):
            await self.caller.send(message)

    async def speak(self, audio: bytes) -> None:
        """Send audio in the provider's message."""
        await self.caller.send(self.half.audio(audio))

    async def hear(self) -> bytes | Event:
        """Return the next audio or event from the service; raise HungUp at its end."""
        while not self._heard:
            heard = self.half.hear(await self.caller.receive())
            self._heard.extend((heard,) if isinstance(heard, bytes) else heard)
        return self._heard.popleft()

    async def hear_audio(self, size: int) -> bytes:
        """Return so many bytes of audio; events are passed over."""
        audio = b""
        while len(audio) < size:
            heard = await self.hear()
            audio += heard if isinstance(heard, bytes) else b""
        return audio
