"""Compare WebSocket echo servers under audio load, all in one run on one machine.

benchmarks/README.md says how it measures and what each figure means.
"""

import argparse
import os
import platform
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import trustme
from harness.bench import Bench
from harness.generator import BenchmarkError, Cores
from harness.measure import MEASUREMENTS
from harness.servers import ALL, FAULTS, MAIN, OURS, Kind, Pool, ServerError
from rich.console import Console


def why_not(bench: Bench, kind: Kind) -> str | None:
    """Return why a server cannot be measured here; None if it echoes one connection's frames."""
    try:
        with bench.pool.use(kind) as server:
            run = server.load("echo", kind, conns=1, seconds=0.1, warmup=0)
    except ServerError as error:
        return f"skipped (pip install -e '.[bench]' has all servers): {error}"
    wrong = ", ".join(f"{run[fault]:.0f} {fault}" for fault in FAULTS if run.get(fault))
    return f"{kind.title}: skipped, it does not echo: {wrong}" if wrong else None


def compare(arguments: argparse.Namespace, console: Console) -> None:
    """Set the scene, run the measurements over the servers that work here, end every server."""
    cores = Cores.choose()
    names = arguments.servers or (MAIN if arguments.quick else [kind.name for kind in ALL])
    wanted = [kind for kind in ALL if kind.name in names]
    if arguments.against:
        title = f"{OURS.title} of {arguments.against}"
        wanted.append(replace(OURS, title=title, root=arguments.against))
    console.print(
        f"machine: {platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}",
        f"python: {platform.python_version()}",
        f"cores: servers on {cores.server}, generator on {cores.generator}",
        f"others: {cores.busy():.0%} of these cores was in use before the run",
        f"pace: {'quick: not for quoting' if arguments.quick else 'full'}",
        sep="\n",
        highlight=False,
    )
    began = time.monotonic()
    with tempfile.NamedTemporaryFile(suffix=".pem") as pem, Pool(cores, pem.name) as pool:
        issued = trustme.CA().issue_cert("127.0.0.1")
        issued.private_key_and_cert_chain_pem.write_to_path(pem.name)
        bench = Bench(pool, [], arguments.quick, console)
        for kind in wanted:
            bench.tell(f"starting {kind.title}")
            if problem := why_not(bench, kind):
                console.print(problem, style="yellow", markup=False, highlight=False)
            else:
                bench.kinds.append(kind)
        for name in arguments.only:
            MEASUREMENTS[name](bench)
    console.print(f"done in {time.monotonic() - began:.0f} s")


def main() -> int:
    """Run the comparison and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="shorter, with fewer peers")
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS))
    parser.add_argument("--servers", nargs="+", choices=[kind.name for kind in ALL])
    parser.add_argument(
        "--against", type=Path, metavar="DIR", help="another checkout of the service"
    )
    arguments = parser.parse_args()
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
