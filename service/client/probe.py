"""The synthetic caller: one call, whose audio must come back right to the bit, and its figures.

    probe = Probe(url)               # or a ClientError: no call can be made of that
    result = await probe.run()       # always a result; `failure` says what was wrong

The call is two seconds of noise in frames of 20 ms.
"""

import socket
from dataclasses import dataclass
from itertools import compress, count
from operator import ne
from random import randbytes
from typing import Any

import trio

from service.audio.encodings import BYTES_PER_SAMPLE
from service.audio.wav import Audio
from service.client.dial import ClientError
from service.client.request import RequestError, converted
from service.client.roundtrips import Report
from service.client.steps import Steps
from service.client.stream import Stream
from service.codec import choose

FRAMES = 100
FRAME_MS = 20
SAMPLE_RATE = 8000

#: What was waited for in each step, for the sentence about a probe whose time was over.
_WAITED_FOR = {
    "dns": "the address of that name",
    "connect": "the TCP connection",
    "tls": "the end of the TLS handshake",
    "upgrade": "the answer to the upgrade",
}


@dataclass(frozen=True)
class Result:
    """What a probe saw; times are in seconds.

    `failure` is one sentence, and None for a call that was right. `steps` has the time of each step
    that ended: `dns`, `connect`, `tls` and `upgrade`. The round trips are None without any reply.
    `session` and `codec` are the service's words.
    """

    target: str
    failure: str | None
    duration_seconds: float
    steps_seconds: dict[str, float]
    session: str | None
    codec: str | None
    frames_sent: int
    frames_received: int
    round_trip_p50_seconds: float | None
    round_trip_p99_seconds: float | None
    round_trip_max_seconds: float | None

    @property
    def frames_lost(self) -> int:
        """How many frames were sent and have no reply."""
        return self.frames_sent - self.frames_received


class Probe:
    """One call, prepared and then made once, within so many seconds."""

    def __init__(
        self, url: str, *, reply: str | None = None, token: str | None = None, timeout: float = 10
    ) -> None:
        """Prepare the call; raise ClientError if the URL, its query or the token cannot be used."""
        self._steps = Steps()
        # All tiers agree on samples that G.711 decodes to. At others audioop may differ.
        noise = Audio(
            choose(law="ulaw").decode(randbytes(FRAMES * FRAME_MS * SAMPLE_RATE // 1000)),
            SAMPLE_RATE,
        )
        self._stream = Stream(
            noise, url, reply=reply, token=token, frame_ms=FRAME_MS, steps=self._steps
        )
        request = self._stream.request
        if request.reply_rate != request.audio.sample_rate:
            raise RequestError("a probe cannot judge resampled audio: leave reply_rate out")
        self._timeout = timeout

    async def run(self) -> Result:
        """Make the call, and return what it was like, however it ended."""
        began = trio.current_time()
        failure = None
        before = trio.socket.set_custom_hostname_resolver(_Resolver(self._steps))
        with trio.move_on_after(self._timeout) as scope:
            try:
                failure = self._difference(await self._stream.run())
            except ClientError as error:
                failure = str(error)
            finally:
                trio.socket.set_custom_hostname_resolver(before)
        report = self._stream.report()
        if scope.cancelled_caught:
            failure = self._too_late(report)
        answered = report.frames_received > 0
        return Result(
            target=str(self._stream.request.address),
            failure=failure,
            duration_seconds=trio.current_time() - began,
            steps_seconds=self._steps.seconds,
            session=report.session,
            codec=report.codec,
            frames_sent=report.frames_sent,
            frames_received=report.frames_received,
            round_trip_p50_seconds=report.p50_ms / 1000 if answered else None,
            round_trip_p99_seconds=report.p99_ms / 1000 if answered else None,
            round_trip_max_seconds=report.max_ms / 1000 if answered else None,
        )

    def _difference(self, report: Report) -> str | None:
        """Return where the audio that came back is not what it has to be; None if it is right."""
        request = self._stream.request
        due, came = converted(request.audio, request.reply).data, report.audio.data
        if came == due:
            return None
        first = next(compress(count(), map(ne, came, due)), min(len(came), len(due)))
        samples = round(request.audio.sample_rate * FRAME_MS / 1000)
        frame = first // (samples * BYTES_PER_SAMPLE[request.reply]) + 1
        return f"{request.address} sent other audio than was due, from frame {frame} on"

    def _too_late(self, report: Report) -> str:
        reply = f"reply {report.frames_received + 1}"
        waited_for = _WAITED_FOR.get(self._steps.under_way, reply)
        address = self._stream.request.address
        return f"{address}: the timeout of {self._timeout:g} s was over before {waited_for} came"


class _Resolver(trio.abc.HostnameResolver):
    """The system's resolver, whose time is the step `dns`."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    async def getaddrinfo(self, *arguments: Any) -> Any:
        # A connect begins with the look-up of the name.
        self._steps.under_way = "dns"
        found = await trio.to_thread.run_sync(
            socket.getaddrinfo, *arguments, abandon_on_cancel=True
        )
        self._steps.begin("connect")
        return found

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise NotImplementedError
