"""Faults that nobody hears of by themselves, each caused on running services.

    python -m tests.deploy.faults

causes them all against a Prometheus with what we ship, untouched, and prints what fired after how
long. After sixteen minutes the last but one fires, after an hour the last. The suite causes them in
a hurry, and asks only whether they fire.
"""

import signal
import socket
import ssl
import struct
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import NamedTuple

import trio

from service.dialects.events import Stop
from tests.deploy.scene import (
    ABUSED,
    ANSWERING,
    DRAIN_SECONDS,
    DRAINING,
    FROZEN,
    KILLED,
    MOVED,
    NODE,
    UNREAD,
    Scene,
    scene,
)
from tests.peers.callers import HungUp, StreamCaller
from tests.peers.processes import DEADLINE_SECONDS, until
from tests.peers.reach import Service, read_head, upgrade_request
from tests.peers.telephones import Telephone

#: A drain is late by so much, in a hurry and otherwise.
LATE_SECONDS = {True: 6, False: 20}
#: A frozen share of five per cent is fifteen seconds of the rule's five minutes.
FROZEN_SECONDS = 17
LONGEST_SECONDS = 65 * 60


def _abuse(stroke: Callable[[Service], Awaitable[None]], times: int, scene: Scene) -> None:
    """Do it so many times to the abused service, which speaks TLS, at once."""
    trusting = ssl.create_default_context(cafile=scene.authority)

    async def all_of_them() -> None:
        service = Service(scene.abused.port, trusting)
        with trio.fail_after(DEADLINE_SECONDS):
            async with trio.open_nursery() as nursery:
                for _ in range(times):
                    nursery.start_soon(stroke, service)
            await service.hang_up()

    trio.run(all_of_them)
    while scene.again(10):
        trio.run(all_of_them)


async def _ask(service: Service, request: bytes) -> None:
    stream = await service.connect()
    await stream.send_all(request)
    await read_head(stream)


async def _no_token(service: Service) -> None:
    await _ask(service, upgrade_request("/ws/audio"))


async def _bad_handshake(service: Service) -> None:
    request = upgrade_request("/ws/audio").replace(b"Version: 13", b"Version: 7")
    await _ask(service, request)


async def _wrong_path(service: Service) -> None:
    await _ask(service, upgrade_request("/audio"))


async def _call(service: Service, query: str = "") -> StreamCaller:
    return await service.call(f"access_token=letmein&{query}")


async def _reset(service: Service) -> None:
    call = await _call(service)
    await call.ask(b"hear")
    assert isinstance(call.stream, trio.SSLStream)
    transport = call.stream.transport_stream
    transport.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await trio.aclose_forcefully(transport)


async def _break_a_rule(service: Service) -> None:
    call = await _call(service)
    with suppress(HungUp):
        await call.ask(b"odd")


async def _ask_for_opus(service: Service) -> None:
    call = await _call(service, "codec=opus")
    await call.leave()


async def _stick(service: Service) -> None:
    call = await _call(service)
    with suppress(trio.BrokenResourceError):
        while True:
            await call.send(bytes(1 << 20))


async def _no_tls(service: Service) -> None:
    stream = await trio.open_tcp_stream("127.0.0.1", service.port)
    async with stream:
        await stream.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        with suppress(trio.BrokenResourceError):
            await stream.receive_some()


def _distrust(scene: Scene) -> None:
    """Reject the abused service's certificate three times, as OpenSSL does it: with an alert."""
    while True:
        for _ in range(3):
            with (
                socket.create_connection(("127.0.0.1", scene.abused.port)) as transport,
                suppress(ssl.SSLCertVerificationError),
            ):
                ssl.create_default_context().wrap_socket(transport, server_hostname="localhost")
        if not scene.again(10):
            return


def _kill(scene: Scene) -> None:
    """Kill a service with calls on the line again and again; in a hurry thrice, and for good."""
    calls, of_it = 1 if scene.hurry else 100, f'{{job="{KILLED}"}}'
    for deaths in count():
        seen = (
            f"rt_audio_sessions_active{of_it} == {calls} and "
            f"changes(process_start_time_seconds{of_it}[15m]) == {deaths}"
        )
        with ExitStack() as lines:
            for _ in range(calls):
                lines.enter_context(_line(scene.killed.port))
            until(partial(scene.prometheus.query, seen), "a scrape of this life")
            scene.wait(0 if scene.hurry else 45)
            scene.killed.die()
        if (scene.hurry and deaths < 2) or scene.again(45):
            scene.killed.live()
        else:
            return


@contextmanager
def _line(port: int) -> Iterator[socket.socket]:
    """Have a call on the line, whose replies nobody reads."""
    with closing(socket.create_connection(("127.0.0.1", port))) as call:
        call.sendall(upgrade_request("/ws/audio"))
        call.recv(1000)
        yield call


def _freeze(scene: Scene) -> None:
    """Freeze a process for two seconds of ten; in a hurry once, as long as the rule asks for."""
    while True:
        scene.frozen.process.send_signal(signal.SIGSTOP)
        scene.wait(FROZEN_SECONDS if scene.hurry else 2)
        scene.frozen.process.send_signal(signal.SIGCONT)
        if not scene.again(8):
            return


def _freeze_in_drain(scene: Scene) -> None:
    """Freeze a process in its drain, until it is late; a call is on the line."""
    active = f'rt_audio:sessions_active:serving{{job="{DRAINING}"}}'
    hidden = f'rt_audio_sessions_active{{job="{DRAINING}"}} == 1 unless on (job) {active}'
    with _line(scene.draining.port):
        until(partial(scene.prometheus.query, f"{active} == 1"), "a call on the line")
        scene.draining.process.send_signal(signal.SIGTERM)
        late = time.monotonic() + DRAIN_SECONDS[scene.hurry] + LATE_SECONDS[scene.hurry]
        until(partial(scene.prometheus.query, hidden), "the autoscaler to be told less")
        scene.draining.process.send_signal(signal.SIGSTOP)
        scene.wait(late - time.monotonic())
        scene.draining.process.send_signal(signal.SIGCONT)
        scene.draining.status()


def _drain_by_hand(scene: Scene) -> None:
    """Ask for a drain as an operator does, and leave it so."""
    scene.wait(0 if scene.hurry else 60)  # there are calls at first
    admin = HTTPConnection("127.0.0.1", scene.frozen_admin_port, timeout=DEADLINE_SECONDS)
    with closing(admin):
        admin.request("POST", "/drain")
        assert admin.getresponse().status == 200


def _write_too_much(scene: Scene) -> None:
    """Have a service write more lines than the pipe and its queue take: one for each frame.

    The call stays on the line, which is then full.
    """
    empty_frame = b"\x82\x80" + bytes(4)
    scene.lines.enter_context(_line(scene.unread_port)).sendall(empty_frame * 10_000)


def _call_no_more(scene: Scene) -> None:
    """Make as many calls as the rule asks for, and no others; in a hurry that was before."""
    if not scene.hurry:
        started = f'rt_audio_sessions_started_total{{job="{FROZEN}"}} == 0'
        until(partial(scene.prometheus.query, started), "a scrape before the calls")
        for _ in range(150):
            with _line(scene.frozen.port):
                pass


def _replace_the_tokens(scene: Scene) -> None:
    """Write what is no tokens file; the service keeps the old tokens."""
    scene.tokens.write_text("let me in\n")
    scene.abused.process.send_signal(signal.SIGHUP)


def _lose_the_targets(scene: Scene) -> None:
    known = f'rt_audio:targets:count{{job="{MOVED}"}}'
    until(partial(scene.prometheus.query, known), "the targets that will be gone")
    left = {job: target for job, target in scene.targets.items() if job != MOVED}
    scene.prometheus.look_at(left)


def _break_the_dialect(scene: Scene) -> None:
    """Call as Twilio does, and send three times media without audio."""

    async def call() -> None:
        service = Service(scene.answering.port)
        with trio.fail_after(DEADLINE_SECONDS):
            caller = await service.call(path="/ws/twilio")
            telephone = Telephone(caller, "twilio")
            await telephone.begin()
            for _ in range(3):
                await caller.send('{"event": "media"}')
            await telephone.say(Stop())
            await service.hang_up()

    trio.run(call)
    while scene.again(10):
        trio.run(call)


def _talk(do: str, frames: int, scene: Scene) -> None:
    """Call a handler, have it do that, and say so many frames, as a caller who cannot wait."""

    async def call() -> None:
        service = Service(scene.answering.port)
        with trio.fail_after(DEADLINE_SECONDS):
            caller = await service.call(f"live=true&do={do}")
            for _ in range(frames):
                await caller.send(bytes(320))
            await caller.leave()
            await service.hang_up()

    trio.run(call)


class Fault(NamedTuple):
    """A cause, who causes it, and the alert that must fire."""

    cause: str
    strike: Callable[[Scene], None] | None
    alert: str
    labels: dict[str, str]
    #: What its summary says.
    summary: str


_REFUSED = "were refused as"
_HANDSHAKES = "TLS handshakes failed in 15 minutes"
FAULTS = (
    Fault("kill -9 in a loop, 100 calls cut each time", _kill,
          "RtAudioRestarting", {"job": KILLED}, "began anew"),
    Fault("the same loop: up for 45 s and more, down for 45 s", None,
          "RtAudioTargetDown", {"job": KILLED}, "answer /metrics"),
    Fault("a namespace has no target any more", _lose_the_targets,
          "RtAudioTargetDown", {"job": MOVED}, f"no target of {MOVED} any more"),
    Fault("every upgrade without a token", partial(_abuse, _no_token, 30),
          "RtAudioUpgradesRefused", {"job": ABUSED, "reason": "unauthorized"}, _REFUSED),
    Fault("bad handshakes", partial(_abuse, _bad_handshake, 30),
          "RtAudioUpgradesRefused", {"job": ABUSED, "reason": "bad_handshake"}, _REFUSED),
    Fault("wrong paths", partial(_abuse, _wrong_path, 30),
          "RtAudioUpgradesRefused", {"job": ABUSED, "reason": "not_found"}, _REFUSED),
    Fault("every call reset", partial(_abuse, _reset, 12),
          "RtAudioCallsAborted", {"job": ABUSED}, "were cut from the other side"),
    Fault("every call reset, where no call was good before", None,
          "RtAudioBudgetBurnsFast", {"job": ABUSED}, f"of the calls of {ABUSED} fail"),
    Fault("clients that speak no TLS", partial(_abuse, _no_tls, 20),
          "RtAudioTlsHandshakesFail", {"job": ABUSED, "reason": "not_tls"}, _HANDSHAKES),
    Fault("clients that reject the certificate", _distrust,
          "RtAudioTlsHandshakesFail", {"job": ABUSED, "reason": "certificate"}, _HANDSHAKES),
    Fault("a certificate for three more days", None,
          "RtAudioCertificateExpires", {"job": ABUSED}, "expires in 2d 23h"),
    Fault("a tokens file that is replaced by a wrong one", _replace_the_tokens,
          "RtAudioReloadFailed", {"job": ABUSED}, "could not take its new tokens"),
    Fault("peers that do not read", partial(_abuse, _stick, 3),
          "RtAudioStuckPeers", {"job": ABUSED}, "sessions dropped in 15 minutes"),
    Fault("frames of an odd length", partial(_abuse, _break_a_rule, 6),
          "RtAudioProtocolErrors", {"job": ABUSED}, "a peer broke the rules"),
    Fault("a provider whose media lack what they must have", _break_the_dialect,
          "RtAudioDialectErrors", {"job": ANSWERING, "dialect": "twilio"}, "twilio: bad_event"),
    Fault("calls that ask for a codec that is not there", partial(_abuse, _ask_for_opus, 6),
          "RtAudioCodecFallback", {"job": ABUSED}, "which they had not asked for"),
    Fault("a handler that fails", partial(_talk, "fail", 0),
          "RtAudioHandlerErrors", {"job": ANSWERING}, "ended by a bug of their handler"),
    Fault("the same, by the outcome of its calls", None,
          "RtAudioFaults", {"job": ANSWERING, "outcome": "error"}, "or of its handler"),
    Fault("a handler that does not hear its live caller", partial(_talk, "sleep", 300),
          "RtAudioFramesDropped", {"job": ANSWERING}, "frames of live callers"),
    Fault("no call any more, after an hour with a hundred", _call_no_more,
          "RtAudioTrafficGone", {"job": FROZEN}, f"No call has begun at {FROZEN}"),
    Fault("a process frozen two seconds of every ten", _freeze,
          "RtAudioEventLoopFrozen", {"job": FROZEN}, "stands still for"),
    Fault("the same process, by its lag", None,
          "RtAudioEventLoopLag", {"job": FROZEN}, "wakes"),
    Fault("a log that nobody reads", _write_too_much,
          "RtAudioLogLinesDropped", {"job": UNREAD}, "log lines in 15 minutes"),
    Fault("a process that is full", None,
          "RtAudioSessionsNearLimit", {"job": UNREAD}, "is at 100% of its sessions"),
    Fault("a drain that an operator began and forgot", _drain_by_hand,
          "RtAudioDrainForgotten", {"job": FROZEN}, "was drained by hand"),
    Fault("a process frozen in its drain, until 20 s after the deadline", _freeze_in_drain,
          "RtAudioDrainTooLong", {"job": DRAINING}, "after its drain had to be over"),
    Fault("a synthetic call that fails", None,
          "RtAudioProbeFailing", {"job": NODE}, "/fails fails"),
    Fault("a synthetic call that is not made any more", None,
          "RtAudioProbeMissing", {"job": NODE}, "was last made 1"),
)  # fmt: skip


def strike(fault: Fault, it: Scene) -> None:
    """Cause a fault; where nobody is in a hurry, for as long as the scene lasts."""
    if fault.strike is not None:
        fault.strike(it)


def main() -> int:
    """Cause every fault, and print what fired after how long, as rows of a table."""
    with (
        tempfile.TemporaryDirectory() as folder,
        scene(Path(folder), hurry=False) as it,
        ThreadPoolExecutor(len(FAULTS)) as hands,
    ):
        until(lambda: len(it.prometheus.query("up == 1")) == len(it.targets), "the first scrapes")
        began = time.monotonic()
        strikes = [hands.submit(strike, fault, it) for fault in FAULTS]
        waiting = list(FAULTS)
        while waiting and time.monotonic() - began < LONGEST_SECONDS:
            it.wait(1)
            for fault in waiting[:]:
                alert = it.prometheus.fires(fault.alert, **fault.labels)
                if alert is not None:
                    waiting.remove(fault)
                    after = time.monotonic() - began
                    summary = alert["annotations"]["summary"]
                    print(
                        f"| {fault.cause} | `{fault.alert}`: {summary} | {after:.0f} s |",
                        flush=True,
                    )
        for fault in waiting:
            print(f"| {fault.cause} | nothing: no `{fault.alert}` | |")
        it.over.set()
        for each in strikes:
            each.result()
    return 1 if waiting else 0


if __name__ == "__main__":
    sys.exit(main())
