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
from importlib.util import find_spec
from pathlib import Path

from harness import report
from harness.generator import FAULTS, Cores, Generator, GeneratorError, Names
from harness.measure import FULL, MEASUREMENTS, QUICK, Bench, Table
from harness.servers import ALL, MAIN, OURS, Certificate, Kind, Pool, ServerError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


def parse_arguments() -> argparse.Namespace:
    """Read the command line; names are checked here, so a typing error costs no ten minutes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short runs, one round, fewer peers")
    parser.add_argument("--only", type=Names(list(MEASUREMENTS)), help="measurements, by comma")
    parser.add_argument("--servers", type=Names([kind.name for kind in ALL]), help="by comma")
    parser.add_argument(
        "--against", type=Path, metavar="DIR", help="also run the service from another checkout"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure")
    return parser.parse_args()


def usable(bench: Bench, wanted: list[Kind], console: Console) -> list[Kind]:
    """Return the servers that run here and echo one connection's frames; say why others do not."""
    found = []
    for step, kind in enumerate(wanted):
        problem = kind.missing()
        if problem is None:
            bench.progress(f"starting {kind.title}", step, len(wanted))
            try:
                with bench.pool.use(kind) as server:
                    run = bench.load(server, kind, "echo", conns=1, seconds=0.1, warmup=0)
                wrong = ", ".join(f"{run[f]:.0f} {f}" for f in FAULTS if run.get(f))
                problem = f"{kind.title}: skipped, it does not echo: {wrong}" if wrong else None
            except ServerError as error:
                problem = f"skipped: {error}"
        if problem is None:
            found.append(kind)
        else:
            console.print(problem, style="yellow", markup=False, highlight=False)
    return found


def measure(bench: Bench, names: list[str], wanted: list[Kind], console: Console) -> list[Table]:
    """Run the named measurements over the servers that work here, and show each table."""
    tables = []
    bench.kinds = usable(bench, wanted, console)
    for name in names:
        for table in MEASUREMENTS[name](bench):
            report.show(console, table)
            tables.append(table)
    return tables


def compare(arguments: argparse.Namespace, console: Console) -> tuple[list[Table], dict[str, str]]:
    """Set the scene, run the measurements, end every server; return the tables and the facts."""
    cores, pace = Cores.choose(), QUICK if arguments.quick else FULL
    generator = Generator.build(cores.generator)
    names = arguments.only or list(MEASUREMENTS)
    chosen = arguments.servers or [kind.name for kind in (MAIN if arguments.quick else ALL)]
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
        tempfile.TemporaryDirectory() as folder,
        Progress(*columns, console=console, auto_refresh=False, transient=True) as progress,
    ):
        task = progress.add_task("")

        def tell(what: str, done: int, steps: int) -> None:
            progress.update(task, description=what, completed=done, total=steps, refresh=True)

        tls = Certificate.make(Path(folder)) if "tls" in names and find_spec("trustme") else None
        pool = Pool(generator, cores, tls)
        try:
            bench = Bench(generator, pool, [], pace, tell)
            wanted = [kind for kind in ALL if kind.name in chosen]
            if arguments.against:
                title = f"{OURS.title} of {arguments.against}"
                root = arguments.against.resolve()
                wanted.append(dataclasses.replace(OURS, title=title, root=root))
            tables = measure(bench, names, wanted, progress.console)
        finally:
            pool.close()
    facts["seconds"] = f"{time.monotonic() - began:.0f}"
    return tables, facts


def main() -> int:
    """Run the comparison and return the exit status."""
    arguments = parse_arguments()
    console = Console(width=None if sys.stdout.isatty() else 150)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended then, too
    try:
        tables, facts = compare(arguments, console)
    except GeneratorError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    console.print(f"done in {facts['seconds']} s")
    if arguments.json:
        report.save(arguments.json, tables, facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
