"""Measure well-behaved real-time streams beside callers that misbehave.

benchmarks/README.md says what each table means. Exit status: 0 if every promise holds, 1 if not.
"""

import argparse
import os
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import trio
from harness.beside import beside
from harness.generator import GENERATOR_CORE, busy
from harness.probes import PATIENCE, probe
from harness.servers import FAULTS, OURS, ROOT, Kind, Report, Server, checkout, serving

from tests.peers.abuse import FLOODS, HOARDS, MIB, RUDE, TALKERS, Callers

#: The good streams: so many, a frame of 320 bytes each 20 ms.
STREAMS = 50
#: The measurement begins so long after the streams.
LEAD_SECONDS = 0.4
P99_MS = 20.0
#: In a soak, where streams come and go beside every kind of flood at once.
SOAK_P99_MS = 50.0
HEALTH_MS = 100.0
#: Memory that has not grown for so long has reached its peak.
QUIET_SECONDS = 3.0
#: Megabytes of tiny frames may wait in socket buffers when the callers are gone.
REST_SECONDS = 60
#: Memory may move by so much after the first minute of a soak: an allocator's arenas breathe.
GROWTH_MIB = 8.0
#: How many callers of each kind talk with the handler in its soak.
TALKERS_EACH = 30


def row(*cells: object) -> None:
    """Print one row of a Markdown table at once, for the next may take a while."""
    print("|", " | ".join(map(str, cells)), "|", flush=True)


def header(*cells: str) -> None:
    """Print the head of a Markdown table."""
    print()
    row(*cells)
    row("---", *["--:"] * (len(cells) - 1))


def verdict(promises: dict[str, bool]) -> bool:
    """Print whether each promise is kept, and return whether all are."""
    print()
    for promise, kept in promises.items():
        print("ok  " if kept else "FAIL", promise)
    return all(promises.values())


def suffer(server: Server, name: str, callers: int, seconds: float) -> dict[str, bool]:
    """Measure the good streams beside so many callers of one kind; print the row."""
    options = {"warmup": LEAD_SECONDS, "seconds": seconds, "patience": PATIENCE}
    with (
        beside(server, {name: (FLOODS[name], callers)}) as counts,
        server.loaded("streams", conns=STREAMS, **options) as streams,
    ):
        began = time.monotonic()
        time.sleep(LEAD_SECONDS)
        probes = trio.run(probe, server.port, seconds)
        good = streams()
        lasted = time.monotonic() - began
    worst = {what: max(times) for what, times in probes.items()}
    calls = [answered for answered in probes["call"] if answered < PATIENCE * 1000]
    promises = {
        f"p99 under {P99_MS:g} ms": good["p99_ms"] < P99_MS,
        "no frame lost": not good["faults"],
        f"/health within {HEALTH_MS:g} ms": worst["/health"] <= HEALTH_MS,
        "all new calls in": len(calls) == len(probes["call"]),
    }
    row(
        name,
        callers,
        f"{good['p50_ms']:.2f}",
        f"{good['p99_ms']:.2f}",
        f"{good['max_ms']:.1f}",
        f"{good['faults']:.0f}",
        f"{worst['/health']:.1f}",
        f"{len(calls)} of {len(probes['call'])}",
        f"{worst['call']:.1f}",
        f"{good['server_core']:.0%}",
        f"{counts[name].sent / lasted / MIB:.1f}",
        f"{good['late_p99_ms']:.2f} / {max(good['late_max_ms'], worst['began']):.1f}",
        ", ".join(promise for promise, kept in promises.items() if not kept),
    )
    return promises


def flood(kind: Kind, floods: list[str], quick: bool) -> bool:
    """Print the table of the good streams beside each kind of flood; return whether all is kept."""
    numbers, seconds = ((1, 20), 1.0) if quick else ((1, 3, 20), 5.0)
    print(f"\n{STREAMS} real-time streams beside callers that flood and read; times in ms")
    header(
        *("flood", "callers", "p50", "p99", "max", "lost", "/health, worst", "new calls in"),
        *("worst", "service's core", "flood, MiB/s", "sent late by, p99 / max", "broken"),
    )
    kept: dict[str, bool] = {}
    for name in floods:
        for number in numbers:
            with serving(kind) as server:
                for promise, holds in suffer(server, name, number, seconds).items():
                    kept[promise] = kept.get(promise, True) and holds
    return verdict(kept)


def memory(kind: Kind, quick: bool) -> bool:
    """Print the table of the memory that each kind of hoarding caller costs."""
    print("\nMemory for each caller: how far the service's resident memory grew at its peak")
    header("what the caller does", "callers", "KiB for each", "at most", "cut off by the service")
    kept = []
    for name, (callers, most_kib, hoard) in HOARDS.items():
        number = callers // 5 if quick else callers
        with serving(kind) as server:
            before = server.rss_kib()
            with beside(server, {name: (hoard, number)}) as counts:
                grown = (peak(server) - before) / number
        kept.append(grown <= most_kib)
        row(name, f"{number:,}", f"{grown:,.1f}", f"{most_kib:,}", f"{counts[name].ended:,}")
    return verdict({"each caller takes as much memory as is stated, at most": all(kept)})


def peak(server: Server) -> float:
    """Return the service's most resident memory in KiB, once it has not grown for some seconds."""
    most, since = 0.0, time.monotonic()
    while time.monotonic() < since + QUIET_SECONDS:
        time.sleep(0.1)
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        if (now := float(status.partition("VmHWM:")[2].split()[0])) > most:
            most, since = now, time.monotonic()
    return most


def state(server: Server) -> dict[str, float]:
    """Print and return the service's memory, its open files, and the sessions on its gauge."""
    now = {
        "MiB": server.rss_kib() / 1024,
        "files": server.process.num_fds(),
        "sessions": server.metrics()["rt_audio_sessions_active"],
    }
    print(*(f"{value:9.1f} {name}" for name, value in now.items()), flush=True)
    return now


def soak(kind: Kind, callers: Callers, streams: int, seconds: float) -> bool:
    """Run callers who misbehave, and streams that come and go; print the memory over time."""
    print(f"\n{kind.handler}, for {seconds:g} s, {streams} real-time streams that come and go, and")
    print(*(f"{number} of: {name}" for name, (_, number) in callers.items()), sep="\n", end="\n\n")
    promises: dict[str, bool] = {}
    looks = max(12, round(seconds / 10))
    with serving(kind) as server:
        before = state(server)
        with ExitStack() as stack:
            counts = stack.enter_context(beside(server, callers))
            options = {"seconds": seconds, "warmup": LEAD_SECONDS, "patience": PATIENCE}
            load = server.loaded("soak", conns=streams, **options)
            good = stack.enter_context(load) if streams else None
            sizes = []
            for _ in range(looks):
                time.sleep(seconds / looks)
                sizes.append(state(server)["MiB"])
            if good:
                promises |= well_served(good())
        deadline = time.monotonic() + REST_SECONDS
        while not (rested := at_rest(before, state(server))) and time.monotonic() < deadline:
            time.sleep(2)
        bugs = server.metrics()["rt_audio_handler_errors_total"]
    print(f"\n{bugs:7,.0f} bugs of the handler")
    for name, count in counts.items():
        print(f"{count.calls:7,} calls, {count.sent / MIB:10,.1f} MiB: {name}")
    grown = growth(sizes, settled=min(60, seconds / 3) / seconds)
    promise = f"memory grew {grown:+.1f} MiB after the first minute, {GROWTH_MIB:g} allowed"
    promises |= {promise: grown <= GROWTH_MIB, "all sessions ended, and their files": rested}
    return verdict(promises)


def at_rest(before: dict[str, float], after: dict[str, float]) -> bool:
    """Return whether sessions and files are back where they were, but for two files."""
    return after["sessions"] == 0 and after["files"] <= before["files"] + 2


def well_served(good: Report) -> dict[str, bool]:
    """Return what is promised to the good streams of a soak, and whether it holds."""
    wrong = [f"{good[fault]:.0f} {fault}" for fault in FAULTS if good.get(fault)]
    return {
        f"p50 {good['p50_ms']:.2f} ms, p99 {good['p99_ms']:.2f} ms, {SOAK_P99_MS:g} allowed": (
            good["p99_ms"] < SOAK_P99_MS
        ),
        f"{good['opened']:,.0f} good connections, {good['measured']:,.0f} frames: "
        f"{', '.join(wrong) or 'none refused, closed, broken or lost'}": not wrong,
    }


def growth(sizes: list[float], settled: float) -> float:
    """Return how far memory grew from after the settled part of a soak to the end.

    Both ends are medians of up to six samples.
    """
    counted = sizes[round(settled * len(sizes)) :]
    width = max(1, min(6, len(counted) // 2))
    return statistics.median(counted[-width:]) - statistics.median(counted[:width])


def run(arguments: argparse.Namespace) -> bool:
    """Run the parts that were asked for; return whether every promise holds."""
    kind, quick, parts = replace(OURS, root=arguments.service), arguments.quick, arguments.only
    seconds = 60 * (arguments.minutes or (0.5 if quick else 5))
    kept = []
    if "flood" in parts:
        kept.append(flood(kind, arguments.floods, quick))
    if "memory" in parts:
        kept.append(memory(kind, quick))
    if "handlers" in parts:
        talkers = {name: (talker, TALKERS_EACH) for name, talker in TALKERS.items()}
        kept.append(soak(replace(kind, handler="bots:moody"), talkers, 0, seconds))
    if "soak" in parts:
        bad = {name: (flooder, arguments.bad) for name, flooder in FLOODS.items()}
        bad |= {name: (rude, 10 * arguments.bad) for name, rude in RUDE.items()}
        kept.append(soak(kind, bad if arguments.bad else {}, arguments.streams, seconds))
    return all(kept)


def main() -> None:
    """Run it, and exit with 1 if a promise is broken."""
    everything = ["flood", "memory", "handlers", "soak"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short runs, not for quoting")
    parser.add_argument("--only", nargs="+", choices=everything, default=everything)
    parser.add_argument("--floods", nargs="+", choices=FLOODS, default=list(FLOODS))
    parser.add_argument("--minutes", type=float, help="of a soak; 5, or 0.5 with --quick")
    parser.add_argument("--streams", type=int, default=STREAMS, help="good ones of the soak")
    parser.add_argument("--bad", type=int, default=1, help="flooders of each kind in the soak")
    parser.add_argument("--service", type=checkout, default=ROOT, metavar="DIR", help="a checkout")
    arguments = parser.parse_args()
    print(f"{arguments.service}; {busy():.0%} of both cores was in use before")
    os.sched_setaffinity(0, {GENERATOR_CORE})
    sys.exit(not run(arguments))


if __name__ == "__main__":
    main()
