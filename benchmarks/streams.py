"""Compare WebSocket echo servers under audio load, all in one run on one machine.

    python benchmarks/streams.py              every measurement; about a quarter of an hour
    python benchmarks/streams.py --quick      a shorter look, not for quoting
    python benchmarks/streams.py --only echo,storm --servers rt-audio,fastapi
    python benchmarks/streams.py --servers rt-audio --against ../before     against another checkout

Servers run on one core and the C load generator (load.c) on another. Rounds are interleaved,
server after server, and each figure is the median of its rounds. benchmarks/README.md says what
each means.
"""

import argparse
import dataclasses
import os
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path

import trustme
from harness.generator import FAULTS, BenchmarkError, Cores, Generator
from harness.measure import FULL, MEASUREMENTS, QUICK, Bench
from harness.options import checkout, names
from harness.report import Table, save
from harness.servers import ALL, MAIN, OURS, Kind, Pool, ServerError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short runs, one round, fewer peers")
    parser.add_argument("--only", type=names(*MEASUREMENTS), help="measurements, by comma")
    parser.add_argument("--servers", type=names(*(kind.name for kind in ALL)), help="by comma")
    parser.add_argument(
        "--against", type=checkout, metavar="DIR", help="also run the service from another checkout"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure")
    return parser.parse_args()


def why_not(bench: Bench, kind: Kind) -> str | None:
    """Return why a server cannot be measured here; None if it echoes one connection's frames."""
    try:
        with bench.pool.use(kind) as server:
            run = bench.load(server, kind, "echo", conns=1, seconds=0.1, warmup=0)
    except ServerError as error:
        return f"skipped (pip install -e '.[bench]' has all servers): {error}"
    wrong = ", ".join(f"{run[fault]:.0f} {fault}" for fault in FAULTS if run.get(fault))
    return f"{kind.title}: skipped, it does not echo: {wrong}" if wrong else None


def measure(bench: Bench, chosen: list[str], wanted: list[Kind], console: Console) -> list[Table]:
    """Run the measurements over the servers that work here, and show each table."""
    for step, kind in enumerate(wanted):
        bench.progress(f"starting {kind.title}", step, len(wanted))
        if problem := why_not(bench, kind):
            console.print(problem, style="yellow", markup=False, highlight=False)
        else:
            bench.kinds.append(kind)
    tables = []
    for name in chosen:
        for table in MEASUREMENTS[name](bench):
            table.show(console)
            tables.append(table)
    return tables


def compare(arguments: argparse.Namespace, console: Console) -> None:
    """Set the scene, run the measurements, end every server."""
    cores, pace = Cores.choose(), QUICK if arguments.quick else FULL
    generator = Generator.build(cores.generator)
    servers = arguments.servers or [kind.name for kind in (MAIN if arguments.quick else ALL)]
    wanted = [kind for kind in ALL if kind.name in servers]
    if arguments.against:
        title = f"{OURS.title} of {arguments.against}"
        wanted.append(dataclasses.replace(OURS, title=title, root=arguments.against))
    facts = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}",
        "python": platform.python_version(),
        "cores": f"servers on {cores.server}, generator on {cores.generator}",
        "others": f"{cores.busy():.0%} of these cores was in use before the run",
        "pace": f"{pace.rounds} rounds" + (", quick: not for quoting" if arguments.quick else ""),
    }
    console.print(*(f"{key}: {value}" for key, value in facts.items()), sep="\n", highlight=False)
    # Redrawn only between runs: a progress bar that spins would share the generator's core.
    columns = [BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}")]
    began = time.monotonic()
    with (
        tempfile.NamedTemporaryFile(suffix=".pem") as pem,
        Progress(*columns, console=console, auto_refresh=False, transient=True) as progress,
        Pool(generator, cores, Path(pem.name)) as pool,
    ):
        issued = trustme.CA().issue_cert("127.0.0.1")
        issued.private_key_and_cert_chain_pem.write_to_path(pem.name)
        task = progress.add_task("")

        def tell(what: str, done: int, steps: int) -> None:
            progress.update(task, description=what, completed=done, total=steps, refresh=True)

        bench = Bench(pool, [], pace, tell)
        tables = measure(bench, arguments.only or list(MEASUREMENTS), wanted, progress.console)
    facts["seconds"] = f"{time.monotonic() - began:.0f}"
    console.print(f"done in {facts['seconds']} s")
    if arguments.json:
        save(arguments.json, tables, facts)


def main() -> int:
    """Run the comparison and return the exit status."""
    arguments = parse_arguments()
    console = Console(width=None if sys.stdout.isatty() else 150)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended then, too
    try:
        compare(arguments, console)
    except BenchmarkError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
