"""The measurements: each a function from a bench to one table's data."""

import dataclasses
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import psutil

from harness.generator import Report, report_of
from harness.listeners import FRAME_SECONDS, listen
from harness.report import CORES, ECHOES, LATE, VERSUS, Column, Table
from harness.servers import (
    CEILING,
    FASTAPI,
    FASTAPI_PARROT,
    MAIN,
    OURS,
    Kind,
    Pool,
    Server,
    ServerError,
)

Once = Callable[[Server, Kind], Report]


#: What the event loop's lag may be at full load, in seconds: one of its histogram's bounds.
LAG_SECONDS = 0.01


@dataclass(frozen=True)
class Pace:
    """How long everything takes: the full run's figures may be quoted, the quick run's may not."""

    rounds: int = 3
    short_rounds: int = 9  # of what is over soon: closed loops, storms, round trips
    echo: float = 0.5  # seconds of each closed-loop run
    probe: float = 1.5  # seconds of each open-loop run in the search for the most streams
    latency: float = 0.8  # seconds of each open-loop run at a fixed load
    lag: float = 5.0  # seconds under load while the event loop's lag is counted
    probes: int = 6  # open-loop runs in the first search; later rounds start from its answer
    sessions: int = 2000  # open sessions at the end of the memory measurement
    sizes: tuple[int, ...] = (320, 160, 960)
    loads: tuple[int, ...] = (100, 400, 800)
    storm: int = 1000


FULL = Pace()
QUICK = Pace(1, 3, echo=0.3, probe=0.6, lag=2, probes=4, sessions=600, loads=(100, 400), storm=500)


@dataclass
class Bench:
    """What every measurement needs: the servers, the pace, and whom to tell."""

    pool: Pool
    kinds: list[Kind]
    pace: Pace
    progress: Callable[[str, int, int], None]  # what is being done, steps done, steps in all

    def interleave(
        self, table: Table, kinds: list[Kind], once: Once, *, rounds: int = 0, fresh: bool = False
    ) -> Table:
        """Measure each kind once a round, round after round; each figure is its rounds' median.

        Every second round goes backwards, so that a machine that slows down favours nobody.
        """
        rounds = rounds or self.pace.rounds
        samples: dict[str, list[Report]] = {kind.title: [] for kind in kinds}
        steps = [kind for number in range(rounds) for kind in kinds[:: (-1) ** number]]
        for step, kind in enumerate(steps):
            self.progress(f"{table.name}: {kind.title}", step, len(steps))
            try:
                with self.pool.use(kind, fresh=fresh) as server:
                    samples[kind.title].append(once(server, kind))
            except (ServerError, psutil.Error) as error:
                table.notes.append(str(error))
        if not kinds:
            table.notes.append("skipped: the server that it is about is not in this run")
        for title, reports in samples.items():
            if reports:
                table.rows[title] = _medians(reports) | _compared(table, samples, title)
        _warn(table)
        return table

    def load(self, server: Server, kind: Kind, mode: str, **options: float) -> Report:
        """Run the generator against a server, with this row's path, sizes and checks."""
        return self.pool.generator.run(
            mode,
            server.port,
            kind.path,
            bytes=kind.size,
            reply=kind.reply,
            check=int(kind.size == kind.reply),
            tls=int(kind.tls),
            server_pid=server.pid,
            **options,
        )


def _medians(reports: list[Report]) -> Report:
    """Return each figure's median; one that most rounds do not have is left out."""
    medians: Report = {}
    for key in dict.fromkeys(key for report in reports for key in report):
        values = [report[key] for report in reports if key in report]
        if len(values) > len(reports) / 2:
            medians[key] = max(values) if key == "faults" else statistics.median(values)
    return medians


def _compared(table: Table, samples: dict[str, list[Report]], title: str) -> Report:
    """Return how much better this service was than a row's server, round by round, in the median.

    Two runs of one round are half a minute apart at most, and the machine's speed drifts.
    """
    ours, theirs = samples.get(OURS.title, []), samples[title]
    if table.versus is None or title == OURS.title or len(ours) != len(theirs):
        return {}
    ratios = [a[table.versus] / b[table.versus] for a, b in zip(ours, theirs, strict=True)]
    return {VERSUS.key: statistics.median(ratios)}


def _warn(table: Table) -> None:
    """Say where a figure is not what it seems: faults, a generator at its limit, a busy machine."""
    for title, row in table.rows.items():
        server, generator = row.get("server_core", 1), row.get("generator_core", 0)
        if row.get("faults", 0):
            table.notes.append(
                f"{title}: {row['faults']:.0f} faults (refused, lost, broken frames)"
            )
        if row.get("more"):
            table.notes.append(f"{title}: no load that was tried failed, so this is a lower bound")
        if generator > 0.97 and server < 0.95:
            table.notes.append(f"{title}: the generator was the limit, so this is a lower bound")
        elif table.name.startswith("echo") and server < 0.9 and generator < 0.9:
            table.notes.append(f"{title}: neither core was full: something else used the machine")


def echo(bench: Bench, size: int) -> Table:
    """Count echoes a second: 50 connections, closed loop, one frame in flight each."""
    table = Table(
        f"echo {size}",
        f"Echoes a second, {size}-byte frames, 50 connections",
        [*ECHOES, VERSUS, *CORES],
        versus="rate",
    )
    kinds = [
        kind.sized(size)
        for kind in bench.kinds
        if size == 320 or kind in MAIN or kind.name == OURS.name
    ]
    return bench.interleave(table, kinds, _closed_loop(bench), rounds=bench.pace.short_rounds)


def _closed_loop(bench: Bench) -> Once:
    def once(server: Server, kind: Kind) -> Report:
        run = bench.load(server, kind, "echo", conns=50, seconds=bench.pace.echo)
        return run | {"per_core": run["rate"] / (run["server_core"] or 1)}

    return once


def streams(bench: Bench) -> Table:
    """Find the most real-time streams on a core: nothing lost, p99 round trip under 20 ms."""
    table = Table(
        "streams",
        "Real-time streams a core (a frame each 20 ms; nothing lost, p99 < 20 ms)",
        [Column("streams", "streams"), *CORES, Column("sent late, p99 ms", LATE, "{:.2f}", 1e-3)],
        notes=[
            "searched in steps down to 5 %; cores are shown at the largest load that passed",
            "empty: in most rounds no load that was tried passed",
        ],
    )
    known: dict[str, int] = {}

    def once(server: Server, kind: Kind) -> Report:
        def probe(n: int) -> Report | None:
            run = bench.load(server, kind, "streams", conns=n, seconds=bench.pace.probe)
            server.settled(patience=3)
            return None if run["faults"] or run["p99_us"] >= 20_000 else run

        if kind.title in known:
            guess, step, probes = known[kind.title], 1.1, 3
        else:
            rate = bench.load(server, kind, "echo", conns=50, seconds=0.3)["rate"]
            guess, step, probes = int(rate / 50 * 0.8), 1.3, bench.pace.probes
        best = search(probe, max(guess, 10), step, probes)
        known[kind.title] = int(best.get("streams", guess))
        return best

    return bench.interleave(table, bench.kinds, once)


def handlers(bench: Bench) -> Table:
    """Weigh a handler that plays back each frame, by its processor time at a fixed load."""
    conns = 200
    table = Table(
        "handlers",
        f"A Python handler that plays back each frame, at {conns} real-time streams",
        [
            Column("us of processor a frame", "cost", "{:.1f}"),
            Column("round trip, p50 ms", "p50_us", "{:.2f}", 1e-3),
            Column("p99 ms", "p99_us", "{:.2f}", 1e-3),
            *CORES,
        ],
        notes=["what a clock paces is later by the worst jitter that it has met"],
    )

    def once(server: Server, kind: Kind) -> Report:
        run = bench.load(server, kind, "streams", conns=conns, seconds=bench.pace.lag)
        return run | {"cost": 1e6 * FRAME_SECONDS * run["server_core"] / conns}

    parrot = dataclasses.replace(OURS, title=f"{OURS.title}, a handler", handler="bots:parrot")
    kinds = [kind for kind in bench.kinds if kind.name in (OURS.name, FASTAPI.name)]
    rows = kinds + [parrot] * (OURS in kinds) + [FASTAPI_PARROT] * (FASTAPI in kinds)
    return bench.interleave(table, rows, once)


def playout(bench: Bench) -> Table:
    """Have 400 callers listen to a handler that is faster than real time."""
    callers = 400
    table = Table(
        "playout",
        f"A handler's audio, paced by the clock, to {callers} callers",
        [
            Column("frames", "frames"),
            Column("us of processor a frame", "cost", "{:.1f}"),
            Column("late, p50 ms", "p50", "{:.2f}"),
            Column("late, p99 ms", "p99", "{:.2f}"),
        ],
    )

    def once(server: Server, kind: Kind) -> Report:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
            heard = other.submit(listen, server.port, callers, bench.pace.lag)
            time.sleep(2.5)  # by then all have called
            before, began = sum(server.process.cpu_times()[:2]), time.monotonic()
            time.sleep(bench.pace.lag - 1.5)
            seconds = time.monotonic() - began
            spent = sum(server.process.cpu_times()[:2]) - before
            frames, p50, p99 = heard.result()
        cost = 1e6 * spent / (callers * seconds / FRAME_SECONDS)
        return {"frames": frames, "cost": cost, "p50": p50, "p99": p99}

    ours = dataclasses.replace(OURS, title=f"{OURS.title}, a handler", handler="bots:announcer")
    return bench.interleave(table, [ours] if OURS in bench.kinds else [], once)


def search(
    probe: Callable[[int], Report | None], guess: int, step: float, probes: int, most: int = 8000
) -> Report:
    """Find the largest n that passes: ever longer steps from a guess, then bisection.

    Returns what the probe of the largest n that passed returned, empty if none did; `more` is in it
    if no probe failed.
    """
    best: Report = {}
    low, high, n = 0, most + 1, min(guess, most)
    for _ in range(probes):
        passed = probe(n)
        if passed is not None:
            low, best = n, passed
        else:
            high = n
        if low >= most or high <= 1 or high <= low * 1.05 + 1:
            break
        if low and high <= most:
            n = (low + high) // 2
        else:
            n = min(most, int(low * step) + 1) if low else max(1, int(high / step))
            step *= step
    return best | {"more": 1} if best and high > most else best


def latency(bench: Bench) -> Table:
    """Time round trips at fixed numbers of real-time streams, from each frame's scheduled time."""
    shares = (("p50", "p50_us"), ("p99", "p99_us"), ("p99.9", "p999_us"))
    table = Table(
        "latency",
        "Round trip in ms, by number of real-time streams",
        [
            Column(f"{n}: {name}", f"{key}_{n}", "{:,.2f}", 1e-3)
            for n in bench.pace.loads
            for name, key in shares
        ],
        notes=["empty: at this load frames were lost or waited for more than a second"],
    )

    def once(server: Server, kind: Kind) -> Report:
        report: Report = {}
        for n in bench.pace.loads:
            run = bench.load(server, kind, "streams", conns=n, seconds=bench.pace.latency)
            if run["faults"] or run["p99_us"] > 1e6:
                break  # more streams would only take longer to say the same
            report |= {f"{key}_{n}": run[key] for _, key in shares}
            report[LATE] = run[LATE]
        return report

    bench.interleave(table, bench.kinds, once, rounds=bench.pace.short_rounds)
    late = [row[LATE] for row in table.rows.values() if LATE in row]
    if late:
        table.notes.append(
            f"the generator's own sends were late by {max(late):,.0f} us at p99, at most"
        )
    return table


def memory(bench: Bench) -> Table:
    """Weigh a session: the memory that each further open one costs the server."""
    few, many = 100, bench.pace.sessions
    table = Table(
        "memory",
        f"Memory of a session: growth of the server's PSS from {few} to {many:,} open sessions",
        [
            Column("KiB/session", "kib", "{:,.1f}"),
            Column(f"MiB at {many:,}", "total", "{:,.0f}", 1 / 1024),
        ],
        notes=["the kernel's socket buffers are not in it"],
    )

    def once(server: Server, kind: Kind) -> Report:
        def hold(sessions: int) -> float:
            process = bench.pool.generator.start("hold", server.port, kind.path, conns=sessions)
            faults.append(report_of(holders.enter_context(process))["faults"])
            server.settled(patience=2)
            return server.pss_kib()

        faults: list[float] = []
        with ExitStack() as holders:
            before, after = hold(few), hold(many - few)
        return {"kib": (after - before) / (many - few), "total": after, "faults": sum(faults)}

    return bench.interleave(table, _peers(bench), once, fresh=True)


def storm(bench: Bench) -> Table:
    """Count upgrades a second, and refusals, when all clients connect at once."""
    table = Table(
        "storm",
        f"Reconnect storm: {bench.pace.storm:,} clients connect and upgrade at once",
        [Column("upgrades/s", "rate"), VERSUS, Column("refused", "refused"), *CORES],
        versus="rate",
    )
    return bench.interleave(
        table,
        bench.kinds,
        lambda server, kind: bench.load(server, kind, "storm", conns=bench.pace.storm, seconds=15),
        rounds=bench.pace.short_rounds,
    )


def tls(bench: Bench) -> Table:
    """Count echoes a second over TLS, as in `echo`."""
    table = Table(
        "tls",
        "Echoes a second over TLS, 320-byte frames, 50 connections",
        [*ECHOES, VERSUS, *CORES],
        versus="rate",
    )
    kinds = [
        dataclasses.replace(kind, tls=True)
        for kind in bench.kinds
        if kind.name in (OURS.name, FASTAPI.name)
    ]
    return bench.interleave(table, kinds, _closed_loop(bench), rounds=bench.pace.short_rounds)


def lag(bench: Bench) -> Table:
    """Read from /metrics how late this service's event loop was at full load."""
    few, many, crowd = 50, 10 * 50, bench.pace.storm
    table = Table(
        "lag",
        "This service: event loop lag at full load, from its own histogram",
        [
            Column("samples", "samples"),
            Column("p99 within ms", "p99_ms", "{:g}"),
            Column(f"beyond {1000 * LAG_SECONDS:g} ms", "beyond", "{:.1%}"),
            *CORES,
        ],
    )
    loads: dict[str, tuple[str, dict[str, float]]] = {
        f"closed loop, {few} connections": ("echo", {"conns": few}),
        f"closed loop, {many} connections": ("echo", {"conns": many}),
        f"{bench.pace.loads[-1]} real-time streams": ("streams", {"conns": bench.pace.loads[-1]}),
        f"storm: {crowd:,} connect, upgrade, hang up at once": ("storm", {"conns": crowd}),
    }

    def once(server: Server, kind: Kind) -> Report:
        mode, options = loads[kind.title]
        before = server.metrics()
        run = bench.load(server, kind, mode, seconds=bench.pace.lag, **options)
        return run | late_wake_ups(before, server.metrics())

    kinds = [dataclasses.replace(OURS, title=title) for title in loads if OURS in bench.kinds]
    return bench.interleave(table, kinds, once)


def late_wake_ups(before: Report, after: Report) -> Report:
    """Return how late the event loop woke a sleeper between two scrapes of /metrics."""
    bucket = "rt_audio_event_loop_lag_seconds_bucket"
    counts = {
        float(series.split('"')[1]): value - before[series]
        for series, value in after.items()
        if series.startswith(bucket)
    }
    samples = max(counts.values())
    p99 = min(bound for bound, count in counts.items() if count >= 0.99 * samples)
    beyond = 1 - counts[LAG_SECONDS] / samples
    return {"samples": samples, "p99_ms": 1000 * p99, "beyond": beyond}


def codecs(bench: Bench) -> Table:
    """Compare what this service does with a frame: each codec tier, both ways of transcoding."""
    table = Table(
        "codecs",
        "This service: codec tiers and transcoding, 20 ms frames, 50 connections",
        [*ECHOES, *CORES],
    )
    kinds = [
        dataclasses.replace(OURS, title=f"{codec}, {what}", path=path, size=size, reply=reply)
        for codec in ("numpy", "audioop", "pure_python")
        if OURS in bench.kinds
        for what, path, size, reply in (
            ("plain echo", f"/ws/audio?codec={codec}", 320, 320),
            ("mu-law in, PCM out", f"/ws/audio?codec={codec}&encoding=ulaw&reply=pcm16", 160, 320),
            ("PCM in, mu-law out", f"/ws/audio?codec={codec}&encoding=pcm16&reply=ulaw", 320, 160),
        )
    ]
    return bench.interleave(table, kinds, _closed_loop(bench))


def _peers(bench: Bench) -> list[Kind]:
    """Leave out the ceiling, which tells nothing where only a server's cost counts."""
    return [kind for kind in bench.kinds if kind is not CEILING]


MEASUREMENTS: dict[str, Callable[[Bench], list[Table]]] = {
    "echo": lambda bench: [echo(bench, size) for size in bench.pace.sizes],
    "streams": lambda bench: [streams(bench)],
    "handlers": lambda bench: [handlers(bench)],
    "playout": lambda bench: [playout(bench)],
    "latency": lambda bench: [latency(bench)],
    "memory": lambda bench: [memory(bench)],
    "storm": lambda bench: [storm(bench)],
    "tls": lambda bench: [tls(bench)],
    "lag": lambda bench: [lag(bench)],
    "codecs": lambda bench: [codecs(bench)],
}
