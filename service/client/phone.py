"""A fake telephone: it calls a service as a provider does, in the provider's dialect.

    phone = Phone(audio, url, DIALECTS["twilio"])
    report = await phone.run()  # or a ClientError, whose text is one sentence for a person
    phone.report()  # after an error too: the report so far

To the service it looks as the provider itself, so that a bot can be tried without one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl
from uuid import uuid4

from service.audio.encodings import BYTES_PER_SAMPLE, SILENCE
from service.audio.rates import RATES
from service.audio.resample import Resampler
from service.audio.wav import Audio
from service.client.dial import Address, ClientError, check_token, connection
from service.client.request import converted
from service.client.twoway import Heard, OnMessage, TwoWay
from service.dialects.events import Digits, Format, Start
from service.dialects.half import Dialect
from service.plain import plain

#: With this a telephone network closes a call that a user has hung up (ITU-T Q.850).
_NORMAL_CLEARING = 16

#: How long a frame of most telephone networks is.
_FRAME_SECONDS = 0.02


class PhoneError(ClientError):
    """The dialect does not have what was asked for."""


@dataclass(frozen=True)
class PhoneReport:
    """How a call went: `audio` was heard, without pauses, and without what was cleared before."""

    dialect: str
    format: Format
    audio: Audio = field(repr=False)
    heard: Heard


class Phone:
    """One call: prepared, run once, and reported on at any time."""

    def __init__(
        self,
        audio: Audio,
        url: str,
        dialect: Dialect,
        *,
        encoding: str | None = None,
        sample_rate: int | None = None,
        from_: str = "",
        to: str = "",
        parameters: Mapping[str, str] | None = None,
        digits: str = "",
        token: str | None = None,
        frame_ms: float | None = None,
        speed: float = 1,
        on_frame: Callable[[int, int], None] = lambda sent, frames: None,
        on_message: OnMessage = lambda message: None,
    ) -> None:
        """Prepare the call; raise ClientError if the dialect cannot hold it.

        The format is the first of the dialect's that has this encoding and sample rate. `digits`
        are pressed as soon as the audio has begun. Without `frame_ms` frames are as long as the
        provider's. `speed` is 1 for real time, 2 for twice as fast.
        """
        check_token(token)
        self.format = _format(dialect, encoding, sample_rate)
        self.address = _asking(Address.parse(url), dialect.query(self.format))
        self._dialect, self._token = dialect, token
        self._start = Start(
            heard=self.format,
            played=self.format,
            stream_id=str(uuid4()),
            call_id=str(uuid4()),
            from_=from_,
            to=to,
            parameters=parameters or {},
        )
        if digits and not dialect.peer(self._start).say(Digits(digits)):
            raise PhoneError(f"{dialect.name} cannot say digits")
        audio = _fitted(audio, self.format)
        # No frame is much longer than the audio, which bounds what may be an enormous number.
        usual = dialect.frame_seconds or _FRAME_SECONDS
        frame_seconds = min(frame_ms / 1000, max(audio.seconds, usual)) if frame_ms else usual
        samples = max(1, round(self.format.rate * frame_seconds))
        frames = audio.frames(samples)
        whole = samples * BYTES_PER_SAMPLE[self.format.encoding]
        frames[-1] = frames[-1].ljust(whole, SILENCE[self.format.encoding])
        self._talk = TwoWay(
            dialect.peer(self._start),
            self._start,
            frames,
            samples / self.format.rate / speed,
            on_frame,
            on_message,
            digits=digits,
            returns_marks=dialect.returns_marks,
        )

    async def run(self) -> PhoneReport:
        """Hold the call until one side hangs up, and return the report; raise ClientError."""
        async with connection(
            self.address, self._token, subprotocols=self._dialect.subprotocols
        ) as ws:
            await self._talk.tell(ws, self._start)
            await self._talk.run(ws, str(self.address))
            if self._dialect.hangup_causes:
                await ws.aclose(_NORMAL_CLEARING)
        return self.report()

    def report(self) -> PhoneReport:
        """Return the report of the call so far."""
        return PhoneReport(self._dialect.name, self.format, self._talk.audio, self._talk.heard())


def _format(dialect: Dialect, encoding: str | None, rate: int | None) -> Format:
    for each in dialect.formats:
        if encoding in (None, each.encoding) and rate in (None, each.rate):
            return each
    known = ", ".join(f"{each.encoding} at {each.rate} Hz" for each in dialect.formats)
    raise PhoneError(f"{dialect.name} has audio in {known} only")


def _asking(address: Address, needed: Mapping[str, str]) -> Address:
    """Return the address with what its query must say; raise PhoneError if it says otherwise."""
    said = dict(parse_qsl(address.query, keep_blank_values=True))
    for name, value in needed.items():
        if said.get(name, value) != value:
            raise PhoneError(
                f"{name}={plain(said[name])} in the URL contradicts the format, for which it must "
                f"be {value}; --encoding and --sample-rate choose another"
            )
    return address.asking(dict(needed))


def _fitted(audio: Audio, wanted: Format) -> Audio:
    """Return the audio in this format; raise PhoneError if it cannot be resampled."""
    if audio.sample_rate != wanted.rate:
        if audio.sample_rate not in RATES:
            raise PhoneError(f"a file with {audio.sample_rate} Hz cannot be resampled")
        resampler = Resampler(audio.sample_rate, wanted.rate)
        pcm = converted(audio, "pcm16").data
        audio = Audio(resampler.convert(pcm) + resampler.flush(), wanted.rate)
    return converted(audio, wanted.encoding)
