"""The measurements: each shows its table or tables."""

from contextlib import ExitStack
from dataclasses import replace

from harness.bench import CORES, ECHOES, PER_CORE, Bench, Column, Once
from harness.search import search
from harness.servers import FASTAPI, MAIN, OURS, Kind, Report, Server
from harness.talk import MULAW, POOL, TWILIO, audio, echoed, said
from service.codec import available, tier

#: What the event loop's lag may be at full load, in seconds: one of its histogram's bounds.
LAG_SECONDS = 0.01
#: How far behind its own schedule the generator sent.
LATE = Column("sent late, p99 ms", "late_p99_ms", "{:.2f}")
COST = Column("us of processor a frame", "cost", "{:.1f}")
AT_FIXED_LOAD = [
    COST,
    Column("p50 ms", "p50_ms", "{:.2f}"),
    Column("p99 ms", "p99_ms", "{:.2f}"),
    *CORES,
]


def closed_loop(bench: Bench) -> Once:
    """Return a run of 50 connections with one frame in flight each."""
    return lambda server: server.load("echo", conns=50, seconds=bench.seconds(0.5))


def open_loop(bench: Bench, mode: str, conns: int) -> Once:
    """Return a run of so many callers whose frames come by the clock."""
    return lambda server: server.load(mode, conns=conns, seconds=bench.seconds(5), warmup=1)


def echo(bench: Bench) -> None:
    """Count echoes a second: 50 connections, closed loop, one frame in flight each."""
    for size in (320, 160, 960):
        kinds = [kind for kind in bench.kinds if size == 320 or kind.name in MAIN]
        bench.measure(
            f"Echoes a second, {size}-byte frames, 50 connections",
            [*ECHOES, *CORES],
            [replace(kind, talk=echoed(said(size))) for kind in kinds],
            closed_loop(bench),
            versus="rate",
            rounds=9,
        )


def streams(bench: Bench) -> None:
    """Find the most real-time streams on a core: nothing lost, p99 round trip under 20 ms."""
    find_streams(bench, "Real-time streams a core", bench.kinds)


def find_streams(bench: Bench, title: str, kinds: list[Kind]) -> None:
    """Search for each kind's most streams; later rounds begin at what the first one found."""
    known: dict[str, int] = {}

    def once(server: Server) -> Report:
        def probe(n: int) -> Report | None:
            run = server.load("streams", conns=n, seconds=bench.seconds(1.5))
            server.settle()
            return None if run["faults"] or run["p99_ms"] >= 20 else run

        row = server.kind.title
        step, probes = (1.1, 3) if row in known else (1.3, 6)
        if row not in known:
            known[row] = max(10, int(closed_loop(bench)(server).get("per_core", 0) / 50 * 0.8))
        best = search(probe, known[row], step, probes)
        known[row] = int(best.get("streams", known[row]))
        return best

    bench.measure(
        f"{title} (a frame each 20 ms; nothing lost, p99 < 20 ms)",
        [Column("streams", "streams"), *CORES, LATE],
        kinds,
        once,
        versus="streams",
        notes=[
            "searched in steps down to 5 %; cores are shown at the largest load that passed",
            "empty: in most rounds no load that was tried passed",
        ],
    )


def handlers(bench: Bench) -> None:
    """Have a handler play back each frame, and FastAPI's do the same.

    That one hears into a queue, and speaks by a clock, as this service does for `bots.parrot`.
    """
    bots = replace(OURS, handler="bots:parrot"), replace(FASTAPI, path="/ws/parrot")
    named = [replace(bot, title=f"{bot.title}, a handler") for bot in bots]
    bench.measure(
        "A Python handler that plays back each frame: round trips at 200 real-time streams",
        AT_FIXED_LOAD,
        bench.only(OURS, FASTAPI, *named),
        open_loop(bench, "streams", 200),
        notes=["what a clock paces is later by the worst jitter that it has met"],
    )
    find_streams(
        bench,
        "A Python handler that plays back each frame: real-time streams a core",
        bench.only(*bots),
    )


def telephony(bench: Bench) -> None:
    """Echo Twilio's media messages, beside the same audio in binary frames."""
    raw = replace(
        OURS,
        title=f"{OURS.title}, mu-law in binary frames",
        path=f"{OURS.path}&encoding=ulaw",
        talk=echoed(MULAW),
    )
    twilio = [replace(kind, path="/ws/twilio", talk=TWILIO) for kind in (OURS, FASTAPI)]
    kinds = bench.only(raw, *twilio)
    bench.measure(
        "Twilio: echoes a second of 20 ms, 50 connections",
        [*ECHOES, COST, *CORES],
        kinds,
        closed_loop(bench),
        versus="cost",
        rounds=9,
    )
    bench.measure(
        "Twilio: round trips at 200 real-time streams",
        AT_FIXED_LOAD,
        kinds,
        open_loop(bench, "streams", 200),
        versus="cost",
    )
    find_streams(bench, "Twilio: real-time streams a core", kinds)


def playout(bench: Bench) -> None:
    """Have 400 callers listen to a handler that is faster than real time."""
    announcer = replace(
        OURS,
        title=f"{OURS.title}, a handler",
        handler="bots:announcer",
        talk=echoed([bytes(320)] * POOL),
    )
    bench.measure(
        "A handler's audio, paced by the clock: how late it comes to 400 callers",
        AT_FIXED_LOAD,
        bench.only(announcer),
        open_loop(bench, "listen", 400),
    )


def latency(bench: Bench) -> None:
    """Time round trips at fixed numbers of real-time streams, from each frame's scheduled time."""
    loads = (100, 400, 800)
    shares = {"p50": "p50_ms", "p99": "p99_ms", "p99.9": "p999_ms"}

    def once(server: Server) -> Report:
        report: Report = {}
        for n in loads:
            run = server.load("streams", conns=n, seconds=bench.seconds(0.8))
            if run["faults"] or run["p99_ms"] > 1000:
                break  # more streams would only take longer to say the same
            report |= {f"{name}_{n}": run[key] for name, key in shares.items()}
            report[LATE.key] = run[LATE.key]
        return report

    columns = [Column(f"{n}: {name}", f"{name}_{n}", "{:,.2f}") for n in loads for name in shares]
    bench.measure(
        "Round trip in ms, by number of real-time streams",
        [*columns, LATE],
        bench.kinds,
        once,
        rounds=9,
        notes=["empty: at this load frames were lost or waited for more than a second"],
    )


def memory(bench: Bench) -> None:
    """Weigh a session: the memory that each further open one costs the server."""
    few, many = 100, 600 if bench.quick else 2000

    def once(server: Server) -> Report:
        sizes, faults = [], 0.0
        with ExitStack() as held:
            for sessions in (few, many - few):
                report = held.enter_context(server.loaded("echo", conns=sessions, seconds=0.2))
                faults += report()["faults"]
                server.settle()
                sizes.append(server.process.memory_full_info().pss / 1024)
        kib = (sizes[1] - sizes[0]) / (many - few)
        return {"kib": kib, "total": sizes[1] / 1024, "faults": faults}

    bench.measure(
        f"Memory of a session: growth of the server's PSS from {few} to {many:,} open sessions",
        [Column("KiB/session", "kib", "{:,.1f}"), Column(f"MiB at {many:,}", "total")],
        bench.kinds,
        once,
        notes=["the kernel's socket buffers are not in it"],
    )


def storm(bench: Bench) -> None:
    """Count upgrades a second, and refusals, when all clients connect at once."""
    clients = 500 if bench.quick else 1000

    def once(server: Server) -> Report:
        # In the storm that counts, the server has met so many clients before.
        server.load("storm", conns=clients, seconds=15)
        server.settle()
        return server.load("storm", conns=clients, seconds=15)

    bench.measure(
        f"Reconnect storm: {clients:,} clients connect and upgrade at once",
        [Column("upgrades/s", "rate"), PER_CORE, Column("refused", "refused"), *CORES],
        bench.kinds,
        once,
        versus="rate",
        rounds=9,
    )


def tls(bench: Bench) -> None:
    """Count echoes a second over TLS, as in `echo`."""
    bench.measure(
        "Echoes a second over TLS, 320-byte frames, 50 connections",
        [*ECHOES, *CORES],
        [replace(kind, tls=True) for kind in bench.only(OURS, FASTAPI)],
        closed_loop(bench),
        versus="rate",
        rounds=9,
    )


def lag(bench: Bench) -> None:
    """Read from /metrics how late this service's event loop was at full load."""
    loads = {
        "closed loop, 50 connections": ("echo", 50),
        "closed loop, 500 connections": ("echo", 500),
        "800 real-time streams": ("streams", 800),
        "storm: 1,000 connect, upgrade, hang up at once": ("storm", 1000),
    }

    def once(server: Server) -> Report:
        mode, conns = loads[server.kind.title]
        before = server.metrics()
        run = server.load(mode, conns=conns, seconds=bench.seconds(5))
        return run | late_wake_ups(before, server.metrics())

    bench.measure(
        "This service: event loop lag at full load, from its own histogram",
        [
            Column("samples", "samples"),
            Column("p99 within ms", "p99_ms", "{:g}"),
            Column(f"beyond {1000 * LAG_SECONDS:g} ms", "beyond", "{:.1%}"),
            *CORES,
        ],
        bench.only(*(replace(OURS, title=title) for title in loads)),
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
    kinds, pcm = [], said(320)
    for name in available():
        codec = tier(name, "ulaw")
        mulaw = [codec.encode(frame) for frame in pcm]
        decoded = [codec.decode(frame) for frame in mulaw]
        for what, query, talk in (
            ("plain echo", "", echoed(pcm)),
            ("mu-law in, PCM out", "&encoding=ulaw&reply=pcm16", audio(mulaw, decoded)),
            ("PCM in, mu-law out", "&encoding=pcm16&reply=ulaw", audio(pcm, mulaw)),
        ):
            path = f"/ws/audio?codec={name}{query}"
            kinds.append(replace(OURS, title=f"{name}, {what}", path=path, talk=talk))
    bench.measure(
        "This service: codec tiers and transcoding, 20 ms frames, 50 connections",
        [*ECHOES, *CORES],
        bench.only(*kinds),
        closed_loop(bench),
    )


MEASUREMENTS = {
    measurement.__name__: measurement
    for measurement in (
        echo, streams, telephony, handlers, playout, latency, memory, storm, tls, lag, codecs,
    )
}  # fmt: skip
