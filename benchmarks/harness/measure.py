"""The measurements: each shows its table or tables."""

from contextlib import ExitStack
from dataclasses import replace

from harness.bench import Bench, Once
from harness.generator import Report, report_of
from harness.report import CORES, COST, ECHOES, LATE, PER_CORE, VERSUS, VERSUS_COST, Column
from harness.search import search
from harness.servers import (
    CEILING,
    FASTAPI,
    FASTAPI_PARROT,
    FASTAPI_TWILIO,
    MAIN,
    OURS,
    Kind,
    Server,
)

FRAME_SECONDS = 0.02
#: What the event loop's lag may be at full load, in seconds: one of its histogram's bounds.
LAG_SECONDS = 0.01


def echo(bench: Bench) -> None:
    """Count echoes a second: 50 connections, closed loop, one frame in flight each."""
    for size in bench.pace.sizes:
        kinds = [kind for kind in bench.kinds if size == 320 or kind.name in MAIN]
        bench.measure(
            f"Echoes a second, {size}-byte frames, 50 connections",
            [*ECHOES, VERSUS, *CORES],
            [replace(kind, size=size, reply=size) for kind in kinds],
            _rate(bench, "echo", 50, bench.pace.echo),
            short=True,
        )


def _rate(bench: Bench, mode: str, conns: int, seconds: float) -> Once:
    """Return a run that counts what the server does in a second, and in a second of processor."""

    def once(server: Server, kind: Kind) -> Report:
        run = bench.load(server, kind, mode, conns=conns, seconds=seconds)
        return run | {"per_core": run["rate"] / (run["server_core"] or 1)}

    return once


def streams(bench: Bench) -> None:
    """Find the most real-time streams on a core: nothing lost, p99 round trip under 20 ms."""
    _find_streams(bench, "Real-time streams a core", bench.kinds)


def _find_streams(bench: Bench, title: str, kinds: list[Kind]) -> None:
    known: dict[str, int] = {}

    def once(server: Server, kind: Kind) -> Report:
        def probe(n: int) -> Report | None:
            run = bench.load(server, kind, "streams", conns=n, seconds=bench.pace.probe)
            server.settled(patience=3)
            return None if run["faults"] or run["p99_ms"] >= 20 else run

        if kind.title in known:
            guess, step, probes = known[kind.title], 1.1, 3
        else:
            rate = _rate(bench, "echo", 50, 0.3)(server, kind)["per_core"]
            guess, step, probes = int(rate / 50 * 0.8), 1.3, bench.pace.probes
        best = search(probe, max(guess, 10), step, probes)
        known[kind.title] = int(best.get("streams", guess))
        return best

    bench.measure(
        f"{title} (a frame each 20 ms; nothing lost, p99 < 20 ms)",
        [Column("streams", "streams"), replace(VERSUS, ratio_of="streams"), *CORES, LATE],
        kinds,
        once,
        notes=[
            "searched in steps down to 5 %; cores are shown at the largest load that passed",
            "empty: in most rounds no load that was tried passed",
        ],
    )


def handlers(bench: Bench) -> None:
    """Weigh a handler that plays back each frame, by its processor time at a fixed load."""
    rows = [kind for kind in bench.kinds if kind.name in (OURS.name, FASTAPI.name)]
    if OURS in rows:
        rows.append(replace(OURS, title=f"{OURS.title}, a handler", handler="bots:parrot"))
    if FASTAPI in rows:
        rows.append(FASTAPI_PARROT)
    bench.measure(
        "A Python handler that plays back each frame: round trips at 200 real-time streams",
        COST,
        rows,
        _fixed_load(bench, "streams", 200),
        notes=["what a clock paces is later by the worst jitter that it has met"],
    )


def telephony(bench: Bench) -> None:
    """Echo Twilio's media messages, beside the same audio in binary frames."""
    raw = replace(
        OURS,
        title=f"{OURS.title}, mu-law in binary frames",
        path=f"{OURS.path}&encoding=ulaw",
        size=160,
        reply=160,
    )
    ours = replace(OURS, path="/ws/twilio", size=160, reply=160, twilio=True)
    kinds = [raw, ours] if OURS in bench.kinds else []
    if FASTAPI in bench.kinds:
        kinds.append(FASTAPI_TWILIO)
    rate = _rate(bench, "echo", 50, bench.pace.echo)

    def once(server: Server, kind: Kind) -> Report:
        run = rate(server, kind)
        return run | ({"cost": 1e6 / run["per_core"]} if run["rate"] else {})

    bench.measure(
        "Twilio: echoes a second of 20 ms, 50 connections",
        [*ECHOES, COST[0], VERSUS_COST, *CORES],
        kinds,
        once,
        short=True,
    )
    bench.measure(
        "Twilio: round trips at 200 real-time streams",
        [VERSUS_COST, *COST],
        kinds,
        _fixed_load(bench, "streams", 200),
    )
    _find_streams(bench, "Twilio: real-time streams a core", kinds)


def playout(bench: Bench) -> None:
    """Have 400 callers listen to a handler that is faster than real time."""
    announcer = replace(OURS, title=f"{OURS.title}, a handler", handler="bots:announcer")
    bench.measure(
        "A handler's audio, paced by the clock: how late it comes to 400 callers",
        COST,
        [announcer] if OURS in bench.kinds else [],
        _fixed_load(bench, "listen", 400),
    )


def _fixed_load(bench: Bench, mode: str, conns: int) -> Once:
    """Return a run of so many callers, and what a frame of theirs costs, in us of processor."""

    def once(server: Server, kind: Kind) -> Report:
        run = bench.load(server, kind, mode, conns=conns, seconds=bench.pace.lag, warmup=1)
        return run | {"cost": 1e6 * FRAME_SECONDS * run["server_core"] / conns}

    return once


def latency(bench: Bench) -> None:
    """Time round trips at fixed numbers of real-time streams, from each frame's scheduled time."""
    shares = {"p50": "p50_ms", "p99": "p99_ms", "p99.9": "p999_ms"}
    loads = bench.pace.loads

    def once(server: Server, kind: Kind) -> Report:
        report: Report = {}
        for n in loads:
            run = bench.load(server, kind, "streams", conns=n, seconds=bench.pace.latency)
            if run["faults"] or run["p99_ms"] > 1000:
                break  # more streams would only take longer to say the same
            report |= {f"{key}_{n}": run[key] for key in shares.values()}
            report[LATE.key] = run[LATE.key]
        return report

    bench.measure(
        "Round trip in ms, by number of real-time streams",
        [
            Column(f"{n}: {name}", f"{key}_{n}", "{:,.2f}")
            for n in loads
            for name, key in shares.items()
        ]
        + [LATE],
        bench.kinds,
        once,
        short=True,
        notes=["empty: at this load frames were lost or waited for more than a second"],
    )


def memory(bench: Bench) -> None:
    """Weigh a session: the memory that each further open one costs the server."""
    few, many = 100, bench.pace.sessions

    def once(server: Server, kind: Kind) -> Report:
        def hold(sessions: int) -> float:
            process = bench.pool.generator.start("hold", server.port, kind.path, conns=sessions)
            faults.append(report_of(holders.enter_context(process))["faults"])
            server.settled(patience=2)
            return server.pss_kib()

        faults: list[float] = []
        with ExitStack() as holders:
            before, after = hold(few), hold(many - few)
        kib = (after - before) / (many - few)
        return {"kib": kib, "total": after / 1024, "faults": sum(faults)}

    bench.measure(
        f"Memory of a session: growth of the server's PSS from {few} to {many:,} open sessions",
        [Column("KiB/session", "kib", "{:,.1f}"), Column(f"MiB at {many:,}", "total")],
        # The ceiling tells nothing where only a server's cost counts.
        [kind for kind in bench.kinds if kind is not CEILING],
        once,
        fresh=True,
        notes=["the kernel's socket buffers are not in it"],
    )


def storm(bench: Bench) -> None:
    """Count upgrades a second, and refusals, when all clients connect at once."""
    clients = bench.pace.storm
    bench.measure(
        f"Reconnect storm: {clients:,} clients connect and upgrade at once",
        [Column("upgrades/s", "rate"), PER_CORE, VERSUS, Column("refused", "refused"), *CORES],
        bench.kinds,
        _rate(bench, "storm", clients, seconds=15),
        short=True,
    )


def tls(bench: Bench) -> None:
    """Count echoes a second over TLS, as in `echo`."""
    kinds = [kind for kind in bench.kinds if kind.name in (OURS.name, FASTAPI.name)]
    bench.measure(
        "Echoes a second over TLS, 320-byte frames, 50 connections",
        [*ECHOES, VERSUS, *CORES],
        [replace(kind, tls=True) for kind in kinds],
        _rate(bench, "echo", 50, bench.pace.echo),
        short=True,
    )


def lag(bench: Bench) -> None:
    """Read from /metrics how late this service's event loop was at full load."""
    most, crowd = bench.pace.loads[-1], bench.pace.storm
    loads = {
        "closed loop, 50 connections": ("echo", 50),
        "closed loop, 500 connections": ("echo", 500),
        f"{most} real-time streams": ("streams", most),
        f"storm: {crowd:,} connect, upgrade, hang up at once": ("storm", crowd),
    }

    def once(server: Server, kind: Kind) -> Report:
        mode, conns = loads[kind.title]
        before = server.metrics()
        run = bench.load(server, kind, mode, conns=conns, seconds=bench.pace.lag)
        return run | late_wake_ups(before, server.metrics())

    bench.measure(
        "This service: event loop lag at full load, from its own histogram",
        [
            Column("samples", "samples"),
            Column("p99 within ms", "p99_ms", "{:g}"),
            Column(f"beyond {1000 * LAG_SECONDS:g} ms", "beyond", "{:.1%}"),
            *CORES,
        ],
        [replace(OURS, title=title) for title in loads if OURS in bench.kinds],
        once,
    )


def late_wake_ups(before: Report, after: Report) -> Report:
    """Return how late the event loop woke a sleeper between two scrapes of /metrics."""
    counts = {
        float(series.split('"')[1]): value - before[series]
        for series, value in after.items()
        if series.startswith("rt_audio_event_loop_lag_seconds_bucket")
    }
    samples = max(counts.values())
    p99 = min(bound for bound, count in counts.items() if count >= 0.99 * samples)
    beyond = 1 - counts[LAG_SECONDS] / samples
    return {"samples": samples, "p99_ms": 1000 * p99, "beyond": beyond}


def codecs(bench: Bench) -> None:
    """Compare what this service does with a frame: each codec tier, both ways of transcoding."""
    kinds = [
        replace(
            OURS,
            title=f"{codec}, {what}",
            path=f"/ws/audio?codec={codec}{query}",
            size=size,
            reply=reply,
        )
        for codec in ("numpy", "audioop", "pure_python")
        if OURS in bench.kinds
        for what, query, size, reply in (
            ("plain echo", "", 320, 320),
            ("mu-law in, PCM out", "&encoding=ulaw&reply=pcm16", 160, 320),
            ("PCM in, mu-law out", "&encoding=pcm16&reply=ulaw", 320, 160),
        )
    ]
    bench.measure(
        "This service: codec tiers and transcoding, 20 ms frames, 50 connections",
        [*ECHOES, *CORES],
        kinds,
        _rate(bench, "echo", 50, bench.pace.echo),
    )


MEASUREMENTS = {
    measurement.__name__: measurement
    for measurement in (
        echo, streams, telephony, handlers, playout, latency, memory, storm, tls, lag, codecs,
    )
}  # fmt: skip
