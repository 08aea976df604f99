"""Lifetimes: listeners, connections, the pump, and what a signal does to them.

    signals: heeded to the very end
      the apps' lifespans
        background: the pump, the lag watcher, the files that may change
          connections: one task for each
            listening: until a signal came and the calls are over

The drain runs while listeners and connections are both alive. So /health, /ready and /metrics
answer until the last call is over, and the admin listener does.
"""

import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from time import perf_counter, time
from typing import TYPE_CHECKING, NamedTuple

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext

from service import __version__, codec, logs, signals
from service.calls.clock import Clock
from service.calls.handled import Handling
from service.calls.roster import Roster
from service.config import ConfigurationError, Settings, unknown_variables
from service.conversation import CLOSE_SECONDS
from service.net.connection import Shared
from service.net.descriptors import share_out
from service.net.door import Door
from service.net.http1 import REQUESTS_AT_ONCE
from service.net.lobby import Lobby
from service.net.preamble import Proxies
from service.net.pump import Pump
from service.networks import Networks
from service.refusals import Refusals
from service.reload import Files, Reload
from service.signals import Stop
from service.tally import LAG_SAMPLE_SECONDS, Tally
from service.web.app import create_app
from service.web.metrics import Metrics

if TYPE_CHECKING:
    from service.tracing import Tracing

_log = logs.get(__name__)

#: The garbage collector takes up to 0.5 us for each object, and a call has about 110 objects. With
#: the default thresholds it took a third of a storm's time. With these it looks at an object once
#: or twice. Frames and ended calls leave no garbage; garbage of HTTP requests is found young.
_GC_THRESHOLDS = (2000, 0, 1000)
#: The variables of OpenTelemetry's specification that say where spans go, the first one first.
_SPAN_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
#: At the exit a handler that was cancelled is left behind after so many seconds more.
_STUCK_SECONDS = 2.0
#: Operators have places and descriptors of their own, so that no crowd of callers keeps them out.
_ADMIN_LOBBY = 16


class Ports(NamedTuple):
    """The bound TCP ports; `admin` is None without an admin listener."""

    public: int
    admin: int | None


async def serve(
    settings: Settings, *, task_status: trio.TaskStatus[Ports] = trio.TASK_STATUS_IGNORED
) -> bool:
    """Serve until a signal; return False if a second signal cut it short.

    Reports the bound TCP ports through `task_status` once the service can be used. Raises
    ConfigurationError if the service cannot start as configured. A handler that does not end is
    left behind: then the process ends, with status 1.
    """
    files = Files(settings)
    access = files.access(settings)
    operators = 0 if settings.admin_port is None else _ADMIN_LOBBY
    descriptors = share_out(settings.max_sessions, operators)
    roster = Roster(
        descriptors.sessions, settings.max_sessions_per_token, settings.max_sessions_per_address
    )
    dialects = ("raw", *(dialect.name for dialect in settings.providers))
    tally = Tally(codec.available(), codec.LAWS, dialects)
    codecs = {name: name in codec.available() for name in codec.ORDER}
    metrics = Metrics(roster, tally, codecs, access)
    tracing, handling = _tracing(), _handling(settings.handler)
    access.warn_of_open_endpoints(dialects[1:])
    refusals = Refusals(tally)
    parts = settings, roster, tally, access, metrics, tracing, handling
    shared = Shared(
        app=ASGIWrapper(create_app(*parts)),
        config=_hypercorn_config(),
        context=WorkerContext(None),
        lobby=Lobby(descriptors.lobby),
        # The pump needs epoll; without it each session reads its own stream.
        pump=Pump() if sys.platform == "linux" else None,
        tls=None if files.certificate is None else files.certificate.value.context,
        proxies=Proxies(
            Networks(settings.trusted_proxies if settings.proxy_protocol else ()), refusals
        ),
        send_seconds=settings.send_timeout_seconds,
        refusals=refusals,
    )
    admin = None
    if settings.admin_port is not None:
        admin = replace(
            shared,
            app=ASGIWrapper(create_app(*parts, for_operators=True)),
            lobby=Lobby(operators),
            tls=None,
            proxies=Proxies(Networks(()), refusals),
            turnstile=trio.Semaphore(REQUESTS_AT_ONCE),
        )
    reload = Reload(files, access, roster, shared, tally, end_revoked=settings.end_revoked)
    async with (
        _doors(settings, shared, admin) as doors,
        signals.heeded(settings.log_level, reload.ask) as stop,
    ):
        async with _lifespans(doors), trio.open_nursery() as background:
            if shared.pump is not None:
                background.start_soon(shared.pump.run)
            background.start_soon(_watch_lag, tally)
            background.start_soon(reload.watch)
            if handling is not None:
                from service.handlers.blocking import warn_of_blocking

                background.start_soon(handling.clock.run)
                background.start_soon(warn_of_blocking)
            async with trio.open_nursery() as connections:
                async with trio.open_nursery() as listening:
                    for door in doors:
                        door.let_in(listening, connections)
                    await _until_drained(settings, roster, stop, doors, task_status)
                    listening.cancel_scope.cancel()
                await shared.context.terminated.set()
                for door in doors:
                    door.shared.lobby.retire()
                connections.cancel_scope.deadline = trio.current_time() + CLOSE_SECONDS
                background.start_soon(_leave_behind, roster)
            background.cancel_scope.cancel()
        if tracing is not None:
            await tracing.aclose()
    in_full = not stop.cut_short
    _log.info("stopped", in_full=in_full)
    return in_full


async def _until_drained(
    settings: Settings,
    roster: Roster,
    stop: Stop,
    doors: Sequence[Door],
    task_status: trio.TaskStatus[Ports],
) -> None:
    """Wait for a signal, give the calls their time to finish, and close the others."""
    public, *operators = doors
    port, url = public.port, settings.url(public.port)
    _log.info("listening", host=settings.host, port=port, url=url, version=__version__)
    for door in operators:
        _announce_admin(settings, door)
    if settings.conformance_echo:
        _log.warning("conformance_echo", message="/ws/echo returns anything; for tests only")
    for sentence in unknown_variables():
        _log.warning("unknown_variable", message=sentence)
    # The objects of the start stay for good; the collector need not look at them again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    task_status.started(Ports(port, operators[0].port if operators else None))
    received = await stop.wait()
    _log.info("draining", signal=received.name, sessions=roster.active)
    with stop.patience:
        await _let_finish(settings, roster, at_once=received is signal.SIGINT)
    roster.drain()
    await roster.dismiss()
    with trio.move_on_after(CLOSE_SECONDS + 0.5):
        await roster.wait_empty()


async def _let_finish(settings: Settings, roster: Roster, *, at_once: bool) -> None:
    roster.stopping = True
    # Not ready, but still accepting: load balancers need a while to notice.
    notice_over = roster.drain(settings.drain_notice_seconds)
    left = max(0.0, notice_over - trio.current_time()) + settings.drain_seconds
    roster.drain_deadline = time() if at_once else time() + left
    if not at_once:
        await trio.sleep_until(notice_over)
        with trio.move_on_after(settings.drain_seconds):
            await roster.wait_empty()


async def _leave_behind(roster: Roster) -> None:
    """End the process if a handler swallows its cancellation, or waits for a thread."""
    await trio.sleep(CLOSE_SECONDS + _STUCK_SECONDS)
    stuck = [place.call.id for place in roster.page(0, 10) if place.call is not None]
    _log.error("handler_stuck", sessions=stuck, message="cancelled, but it goes on: left behind")
    logs.flush()
    os._exit(1)


def _announce_admin(settings: Settings, door: Door) -> None:
    host, port = settings.admin_host, door.port
    _log.info("admin_listening", host=host, port=port, url=settings.admin_url(port))
    if not all(ip_address(address).is_loopback for address in door.addresses):
        _log.warning(
            "admin_exposed",
            message=f"RT_AUDIO_ADMIN_HOST={host} is not loopback: whoever reaches port {port} "
            "can see, end and drain calls; let a firewall or a NetworkPolicy keep others out",
        )


def _hypercorn_config() -> Config:
    config = Config()
    config.accesslog = None  # a session's own log lines say more
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    return config


def _tracing() -> "Tracing | None":
    """Return what makes a span of each call, if the environment has an endpoint for spans."""
    endpoint = next((name for name in _SPAN_ENDPOINTS if os.environ.get(name)), None)
    if endpoint is None or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from service.tracing import Tracing

        return Tracing(endpoint)
    except ImportError as error:
        raise ConfigurationError(
            f"{endpoint} is set, but OpenTelemetry is not installed ({error}): "
            "pip install 'rt-audio-pipeline[otel]'"
        ) from None
    except ValueError as error:
        raise ConfigurationError(f"OpenTelemetry cannot start: {error}") from None


def _handling(name: str) -> Handling | None:
    """Return who answers calls, None for the echo."""
    if name == "echo":
        return None
    from service.handlers.load import load

    return Handling(name, load(name), Clock())


@asynccontextmanager
async def _doors(
    settings: Settings, shared: Shared, admin: Shared | None
) -> AsyncIterator[list[Door]]:
    """Open the public door, then that of operators."""
    with ExitStack() as stack:
        public = await Door.open(shared, "RT_AUDIO_", settings.host, settings.port)
        doors = [stack.enter_context(public)]
        if admin is not None and settings.admin_port is not None:
            host, port = settings.admin_host, settings.admin_port
            operators = await Door.open(admin, "RT_AUDIO_ADMIN_", host, port)
            doors.append(stack.enter_context(operators))
        yield doors


@asynccontextmanager
async def _lifespans(doors: Sequence[Door]) -> AsyncIterator[None]:
    """Have the doors' apps' ASGI lifespans around the block."""
    async with AsyncExitStack() as stack:
        for door in doors:
            await stack.enter_async_context(_lifespan(door.shared))
        yield


@asynccontextmanager
async def _lifespan(shared: Shared) -> AsyncIterator[None]:
    """Have the app's ASGI lifespan around the block."""
    lifespan = Lifespan(shared.app, shared.config, {})
    async with trio.open_nursery() as nursery:
        await nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        yield
        await lifespan.wait_for_shutdown()
        nursery.cancel_scope.cancel()


async def _watch_lag(tally: Tally) -> None:
    """Sleep shortly, again and again, and count by how many seconds each sleep was too long."""
    while True:
        due = perf_counter() + LAG_SAMPLE_SECONDS
        await trio.sleep(LAG_SAMPLE_SECONDS)
        tally.woke(max(0.0, perf_counter() - due))
