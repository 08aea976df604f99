"""What a handler knows of its call, and can do with it.

    async def answer(call: Call) -> None:
        async for frame in call.frames():
            await call.play(frame)

Audio is PCM16: mono, signed, little-endian. The handler runs in the call's nursery. When the caller
leaves, iteration ends and the other methods raise HungUp; some seconds later the handler is
cancelled. When the handler returns, the call ends once everything that was played was heard.
"""

from collections import deque
from collections.abc import AsyncIterator, Mapping
from itertools import count
from typing import Any, Final, NoReturn

import trio

from service.audio.rates import RATES
from service.audio.resample import Resampler
from service.calls.handled import HandledCall
from service.calls.hearing import Hearing
from service.calls.speech import HEARD
from service.dialects.events import DIGITS, Digits, Event, Message
from service.ending import Ending

#: Longer audio is converted in pieces of so many seconds; other calls have their turn in between.
_PIECE_SECONDS = 0.2
#: The longest reason that fits a close frame, in bytes of UTF-8 (RFC 6455, 5.5.1).
_REASON_BYTES = 123


class HungUp(Exception):  # noqa: N818
    """The call is over: nothing can be played or sent any more."""


class Call:
    """One call, as its handler sees it. A `rate` is samples a second, by default the caller's.

    `id` is the call's name in the logs, `peer` the caller's address and port. `dialect` is what the
    caller speaks: `raw`, or the name of a telephone provider. A provider says `from_` and `to`, and
    its own `call_id` and `stream_id`; `details` is all that it said at the start. `parameters` are
    those of the caller's URL, without its token, and the provider's custom ones. `encoding` (pcm16,
    ulaw or alaw) and `rate` are what the caller sends. `draining` is set once the service goes
    away.
    """

    def __init__(self, call: HandledCall) -> None:
        self.id: Final[str] = call.id
        self.peer: Final[str] = call.caller.peer
        terms, start = call.terms, call.start
        assert terms is not None, "a handler answers once the call has begun"
        self.dialect: Final[str] = call.asked.dialect.name
        self.from_: Final[str] = start.from_
        self.to: Final[str] = start.to
        self.call_id: Final[str] = start.call_id
        self.stream_id: Final[str] = start.stream_id
        self.details: Final[Mapping[str, Any]] = start.said
        self.parameters: Final[Mapping[str, str]] = {**call.asked.query, **start.parameters}
        self.encoding: Final[str] = terms.encoding
        self.rate: Final[int] = terms.sample_rate
        self.draining: Final[trio.Event] = call.draining
        self._duplex = call.duplex
        self._hearing, self._speech = call.duplex.hearing, call.duplex.speech
        self._reply_rate = terms.reply_rate
        self._ears: dict[int, _Ear] = {}
        self._resampler: Resampler | None = None  # of what is played
        self._numbers = count(1)
        self._playing = trio.Lock()
        self._clears = 0

    def frames(self, rate: int | None = None, milliseconds: int = 20) -> AsyncIterator[bytes]:
        """Iterate over the caller's audio, in frames of exactly this length, until the call ends.

        The last frame is filled up with silence. Events are passed over. Raises ValueError for
        another rate than those of `service.audio.rates`, and trio.BusyResourceError where two tasks
        listen at once.
        """
        return _Heard(self._hearing, self._ear(rate), milliseconds, events=False)

    def events(
        self, rate: int | None = None, milliseconds: int = 20
    ) -> AsyncIterator[bytes | Event]:
        """Iterate over the caller's audio as `frames` does, and Mark, Digits and Message."""
        return _Heard(self._hearing, self._ear(rate), milliseconds, events=True)

    async def play(self, pcm: bytes, rate: int | None = None) -> None:
        """Play audio of any length behind all that waits; wait while over five seconds wait.

        Several tasks play one after the other. A `clear` meanwhile drops the rest of it too. Raises
        HungUp once the call is over, and ValueError for half a sample or a wrong rate.
        """
        if len(pcm) % 2:
            raise ValueError(f"PCM16 has two bytes a sample, not {len(pcm)} in all")
        await trio.lowlevel.checkpoint_if_cancelled()
        source = self.rate if rate is None else _known(rate)
        as_is = source == self._reply_rate and self._resampler is None
        if as_is and not self._playing.locked() and self._speech.pass_on(pcm):
            return
        if self._speech.ended:
            await _tell_hung_up()
        size = int(source * _PIECE_SECONDS) * 2
        if 0 < len(pcm) <= size and not self._playing.locked() and not self._speech.full:
            self._play(pcm, source)
            return
        clears = self._clears
        async with self._playing:
            for start in range(0, len(pcm), size):
                while self._speech.full:
                    await self._speech.changed()
                self._be_on_the_line()
                if self._clears != clears:
                    return
                self._play(pcm[start : start + size], source)
                await trio.lowlevel.checkpoint()

    def _play(self, pcm: bytes, source: int) -> None:
        self._resample_from(source)
        self._speech.play(pcm if self._resampler is None else self._resampler.convert(pcm))

    async def heard(self) -> None:
        """Wait until the caller has heard all that was played so far, or it was cleared.

        Raises HungUp once the call is over.
        """
        if self._speech.ended:
            await _tell_hung_up()
        self._finish_sentence()
        name = f"{HEARD}{next(self._numbers)}"
        self._speech.mark(name)
        while self._speech.unheard(name):
            await self._speech.changed()
        self._be_on_the_line()
        await trio.lowlevel.checkpoint()

    def mark(self, name: str) -> None:
        """Have `events` yield Mark(name) once the caller has heard all that was played so far.

        Raises HungUp once the call is over.
        """
        self._be_on_the_line()
        if name.startswith(HEARD):
            raise ValueError(f"a mark's name cannot begin with {HEARD}")
        self._finish_sentence()
        self._speech.mark(name)

    def clear(self) -> int:
        """Stop playing at once, and forget the marks; do nothing while nothing is played.

        Return how many milliseconds were heard of what was played since the last silence.
        """
        self._clears += 1
        if self._resampler is not None:
            self._resampler.reset()
        if self._speech.all_heard:
            return 0
        return round(self._speech.clear() * 1000)

    @property
    def position(self) -> int:
        """How many milliseconds of what was played the caller has heard, since the call began."""
        return round(self._speech.position * 1000)

    @property
    def waiting(self) -> int:
        """How many milliseconds of audio wait to be played."""
        return round(self._speech.waiting * 1000)

    async def send(self, data: Any) -> bool:
        """Send data, any JSON value, to a caller that takes events; return whether this one does.

        Raises HungUp once the call is over.
        """
        return await self._say(Message(data))

    async def send_digits(self, digits: str) -> bool:
        """Send keys (`0` to `9`, `*`, `#`, `A` to `D`) as `send` sends data."""
        if not set(digits) <= DIGITS:
            raise ValueError(f"{digits!r} are no keys of a telephone")
        return await self._say(Digits(digits))

    def hang_up(self, code: int = 1000, reason: str = "") -> None:
        """End the call at once, with a close code (1000, or 3000 to 4999) and a reason."""
        if code != 1000 and not 3000 <= code <= 4999:
            raise ValueError(f"{code} is not 1000, nor from 3000 to 4999")
        if len(reason.encode()) > _REASON_BYTES:
            raise ValueError(f"a reason has at most {_REASON_BYTES} bytes: {reason!r}")
        self._duplex.end(Ending("completed", code, reason))

    async def finish(self) -> None:
        """Wait until everything that was played was heard, by the clock, or the call is over."""
        self._finish_sentence()
        while not self._speech.silent:
            await self._speech.changed()

    async def _say(self, event: Event) -> bool:
        await trio.lowlevel.checkpoint()
        await self._speech.written()
        self._be_on_the_line()
        return self._speech.say(event)

    def _be_on_the_line(self) -> None:
        if self._speech.ended:
            raise HungUp

    def _ear(self, rate: int | None) -> "_Ear":
        target = self.rate if rate is None else _known(rate)
        if target not in self._ears:
            self._ears[target] = _Ear(self.rate, target)
        return self._ears[target]

    def _resample_from(self, source: int) -> None:
        """Have the resampler of this rate; what another one has held back is played first."""
        target = self._reply_rate
        if source != (target if self._resampler is None else self._resampler.source):
            self._finish_sentence()
            self._resampler = None if source == target else Resampler(source, target)

    def _finish_sentence(self) -> None:
        if self._resampler is not None:
            self._speech.play(self._resampler.flush())


class _Ear:
    """The caller's audio at one rate, of which frames of any length are cut."""

    def __init__(self, source: int, target: int) -> None:
        self._resampler = None if source == target else Resampler(source, target)
        self._piece_bytes = int(source * _PIECE_SECONDS) * 2
        self.pieces: deque[bytes] = deque()  # not resampled yet
        self.pcm = bytearray()
        self.rate = target

    def hear(self, pcm: bytes, size: int) -> bytes | None:
        """Take audio, and return the next frame, or None if it is not complete yet."""
        if len(pcm) == size and self._resampler is None and not self.pcm:
            return pcm  # the usual case: frames of the caller's own size are wanted
        most = self._piece_bytes
        self.pieces.extend(pcm[start : start + most] for start in range(0, len(pcm), most))
        return self.frame(size)

    def frame(self, size: int) -> bytes | None:
        """Return the next frame, or None if it is not complete yet."""
        while len(self.pcm) < size and self.pieces:
            piece = self.pieces.popleft()
            self.pcm += piece if self._resampler is None else self._resampler.convert(piece)
        if len(self.pcm) < size:
            return None
        frame = bytes(self.pcm[:size])
        del self.pcm[:size]
        return frame

    def last_frame(self, size: int) -> bytes | None:
        """Return what is left, filled up with silence; None if nothing is."""
        if self._resampler is not None:
            self.pcm += self._resampler.flush()
        if not self.pcm:
            return None
        frame, self.pcm = bytes(self.pcm[:size]), self.pcm[size:]
        return frame.ljust(size, b"\0")


class _Heard(AsyncIterator[Any]):
    """The frames that are heard, and the `events` among them if they are wanted."""

    def __init__(self, hearing: Hearing, ear: _Ear, milliseconds: int, *, events: bool) -> None:
        self._hearing, self._ear, self._events = hearing, ear, events
        self._size = ear.rate * milliseconds // 1000 * 2
        if self._size < 2:
            raise ValueError(f"{milliseconds} milliseconds are no length of a frame")

    def __del__(self) -> None:
        # A loop that was left with `break` drops its iterator. Its caller must not wait for it.
        self._hearing.leave()

    async def __anext__(self) -> bytes | Event:
        ear, size = self._ear, self._size
        if ear.pcm or ear.pieces:
            frame = ear.frame(size)
            if frame is not None:
                # More audio came at once than one frame, so nothing below would wait.
                await trio.lowlevel.checkpoint()
                return frame
        while True:
            item = await self._hearing.next()
            if type(item) is bytes:
                frame = ear.hear(item, size)
                if frame is not None:
                    return frame
            elif item is None:
                frame = self._ear.last_frame(self._size)
                if frame is None:
                    raise StopAsyncIteration
                return frame
            elif self._events:
                return item


async def _tell_hung_up() -> NoReturn:
    """Raise HungUp, after others have run: a handler that tries on and on must not hold them up."""
    await trio.lowlevel.checkpoint()
    raise HungUp


def _known(rate: int) -> int:
    """Return the rate if audio can be resampled from it and to it; raise ValueError."""
    if rate not in RATES:
        raise ValueError(f"{rate} Hz is not among {', '.join(map(str, RATES))}")
    return rate
