"""A small client: stream audio to the service in real time, and measure the replies.

    stream = Stream(audio, url)      # checks the URL and the options
    report = await stream.run()      # or a ClientError, whose text is one sentence for a person
    stream.report()                  # after an error too: the report so far

After a lost call another one can go on with the next frame that was not sent.
"""

from collections.abc import Callable
from dataclasses import replace
from math import ceil, isfinite
from typing import Any

import trio

from service.audio.wav import Audio
from service.client.backoff import Backoff
from service.client.dial import ClientError, check_token, connection
from service.client.messages import started
from service.client.request import Request
from service.client.roundtrips import OnReply, ReplyError, Report, RoundTrips
from service.client.steps import Steps
from service.client.twoway import HandlerError, OnMessage, TwoWay, start_of
from service.dialects.raw import Caller
from service.plain import plain

#: Called after each lost or refused call with the error and the seconds until the next try. The
#: seconds are None if every frame has been sent, because no other call is made then.
OnLoss = Callable[[ClientError, float | None], None]


class Stream:
    """One audio's way to a service and back: prepared, run once, and reported on at any time."""

    def __init__(
        self,
        audio: Audio,
        url: str,
        *,
        encoding: str | None = None,
        reply: str | None = None,
        codec: str | None = None,
        reply_rate: int | None = None,
        digits: str = "",
        token: str | None = None,
        frame_ms: float = 20,
        speed: float = 1,
        reconnect: bool = False,
        on_reply: OnReply = lambda replies, frames: None,
        on_loss: OnLoss = lambda error, seconds: None,
        on_message: OnMessage | None = None,
        steps: Steps | None = None,
    ) -> None:
        """Prepare the stream; raise ClientError if the URL, its query or the token cannot be used.

        `encoding`, `reply`, `codec` and `reply_rate` are those of `Request.make`, `steps` are those
        of `connection`. `speed` is 1 for real time, 2 for twice as fast.

        With `reconnect` a new call follows a call that is lost, refused for now or told to come
        back, after a back-off. No frame is left out, and no frame is sent twice: frames without a
        reply at the end of a call stay without one.

        A call that a handler answers is a two-way call, whose report has `heard`. Such a call needs
        `on_message`, and no `reconnect`. `digits`, which are pressed as soon as the audio has
        begun, need such a call.
        """
        if not (isfinite(frame_ms) and isfinite(speed) and frame_ms > 0 and speed > 0):
            raise ValueError("frame_ms and speed must be positive numbers")
        check_token(token)
        self.request = Request.make(
            audio, url, encoding=encoding, reply=reply, codec=codec, reply_rate=reply_rate
        )
        self._token, self._reconnect, self._on_loss = token, reconnect, on_loss
        self._steps, self._digits = steps, digits
        audio = self.request.audio
        # No frame is longer than the audio, which bounds what may be an enormous number.
        samples = max(1, round(min(len(audio.data), audio.sample_rate * frame_ms / 1000)))
        growth = ceil(self.request.reply_rate / audio.sample_rate)
        self._longest_reply = max(2**20, 2 * samples * growth)
        self._paced = audio.frames(samples), samples / audio.sample_rate / speed
        self._trips = RoundTrips(*self._paced, on_reply)
        self._on_reply, self._on_message = on_reply, on_message
        self._talk: TwoWay | None = None
        self._codec: str | None = None

    async def run(self) -> Report:
        """Send all frames, wait for all replies, and return the report; raise ClientError.

        A two-way call goes on until one side hangs up.

        With `reconnect` an error that would come again is raised at once, any other error once
        PATIENCE_SECONDS have passed without a reply.
        """
        await (self._call_again() if self._reconnect else self._call())
        if self._talk is None and not self._trips.replies:
            raise ReplyError("not one frame was answered")
        return self.report()

    def report(self) -> Report:
        """Return the report of all calls so far."""
        report, talk = self._trips.report(self.request), self._talk
        if talk is None:
            return report
        return replace(report, codec=self._codec, audio=talk.audio, heard=talk.heard())

    async def _call(self) -> None:
        """Hold one call from the upgrade to the last reply; raise ClientError."""
        address = self.request.address
        async with connection(
            address, self._token, max_message_size=self._longest_reply, steps=self._steps
        ) as ws:
            event = await started(ws, str(address))
            if event.get("handler"):
                self._talk = self._two_way(event)
                await self._talk.run(ws, str(address))
            elif self._digits:
                raise HandlerError("digits are for a handler, and none answers")
            else:
                await self._trips.run(ws, str(address))

    def _two_way(self, event: dict[str, Any]) -> TwoWay:
        if self._on_message is None:
            raise HandlerError("a handler answers, and it does not reply to each frame")
        if self._reconnect:
            raise HandlerError("a handler answers, and a lost talk cannot go on in another call")
        self._codec = plain(str(event.get("codec")))
        start = start_of(event)
        return TwoWay(
            Caller(start),
            start,
            *self._paced,
            self._on_reply,
            self._on_message,
            digits=self._digits,
        )

    async def _call_again(self) -> None:
        """Hold one call after the other until every frame is sent; raise the last ClientError."""
        backoff = Backoff()
        while True:
            try:
                return await self._call()
            except ClientError as error:
                seconds = backoff.after_failure(error.retry_after, self._trips.replies)
                if seconds is None:
                    raise
                if self._trips.all_sent:
                    return self._on_loss(error, None)
                self._on_loss(error, seconds)
            await trio.sleep(seconds)
