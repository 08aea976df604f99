"""Compare WebSocket echo servers under audio load, all in one run on one machine.

    python benchmarks/streams.py              every measurement; about a quarter of an hour
    python benchmarks/streams.py --quick      a shorter look, not for quoting
    python benchmarks/streams.py --only echo storm --servers rt-audio fastapi
    python benchmarks/streams.py --servers rt-audio --against ../before     against another checkout

benchmarks/README.md says how it measures and what each figure means.
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
from harness.bench import FULL, QUICK, Bench
from harness.generator import FAULTS, BenchmarkError, Cores, Generator
from harness.measure import MEASUREMENTS
from harness.report import Table
from harness.servers import ALL, MAIN, OURS, Kind, Pool, ServerError, checkout
from rich.console import Console


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short runs, one round, fewer peers")
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS))
    parser.add_argument("--servers", nargs="+", choices=[kind.name for kind in ALL])
    parser.add_argument(
        "--against", type=checkout, metavar="DIR", help="also run the service from another checkout"
    )
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


def compare(arguments: argparse.Namespace, console: Console) -> None:
    """Set the scene, run the measurements over the servers that work here, end every server."""
    cores, pace = Cores.choose(), QUICK if arguments.quick else FULL
    generator = Generator.build(cores.generator)
    servers = arguments.servers or (MAIN if arguments.quick else [kind.name for kind in ALL])
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

    def tell(what: str) -> None:
        if console.is_terminal:  # written between runs: a spinner would share the generator's core
            console.print(f"{what:{console.width - 1}}"[: console.width - 1], end="\r", style="dim")

    def show(table: Table) -> None:
        tell("")
        table.show(console)

    began = time.monotonic()
    with (
        tempfile.NamedTemporaryFile(suffix=".pem") as pem,
        Pool(generator, cores, Path(pem.name)) as pool,
    ):
        issued = trustme.CA().issue_cert("127.0.0.1")
        issued.private_key_and_cert_chain_pem.write_to_path(pem.name)
        bench = Bench(pool, [], pace, tell, show)
        for kind in wanted:
            tell(f"starting {kind.title}")
            if problem := why_not(bench, kind):
                console.print(problem, style="yellow", markup=False, highlight=False)
            else:
                bench.kinds.append(kind)
        for name in arguments.only:
            MEASUREMENTS[name](bench)
    console.print(f"done in {time.monotonic() - began:.0f} s")


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
