"""How every measurement is taken: rounds in turns, medians, and a word on figures that mislead."""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psutil

from harness.generator import Report
from harness.report import ECHOES, Column, Table
from harness.servers import OURS, Kind, Pool, Server, ServerError

Once = Callable[[Server, Kind], Report]


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
    tell: Callable[[str], None]  # what is being done
    show: Callable[[Table], None]

    def measure(
        self,
        title: str,
        columns: list[Column],
        kinds: list[Kind],
        once: Once,
        *,
        short: bool = False,
        fresh: bool = False,
        notes: Iterable[str] = (),
    ) -> None:
        """Measure each kind once a round, and show the table of the rounds' medians.

        Every second round goes backwards, so that a machine that slows down favours nobody.
        """
        table = Table(title, columns, notes=list(notes))
        rounds = self.pace.short_rounds if short else self.pace.rounds
        samples: dict[str, list[Report]] = {kind.title: [] for kind in kinds}
        steps = [kind for number in range(rounds) for kind in kinds[:: (-1) ** number]]
        for step, kind in enumerate(steps):
            self.tell(f"{title}: {kind.title}, {step} of {len(steps)}")
            try:
                with self.pool.use(kind, fresh=fresh) as server:
                    samples[kind.title].append(once(server, kind))
            except (ServerError, psutil.Error) as error:
                table.notes.append(str(error))
        if not kinds:
            table.notes.append("skipped: the server that it is about is not in this run")
        ours = samples.get(OURS.title, [])
        for row, reports in samples.items():
            if reports:
                table.rows[row] = _medians(reports)
            if row == OURS.title or len(reports) != len(ours):
                continue
            for column in columns:
                # Two runs of one round are half a minute apart at most; the machine's speed drifts.
                of, rounds_of_both = column.ratio_of, zip(ours, reports, strict=True)
                ratios = [a[of] / b[of] for a, b in rounds_of_both if a.get(of) and b.get(of)]
                if ratios:
                    table.rows[row][column.key] = statistics.median(ratios)
        _warn(table)
        self.show(table)

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
            twilio=int(kind.twilio),
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


def _warn(table: Table) -> None:
    """Say where a figure is not what it seems: faults, a generator at its limit, a busy machine."""
    closed_loop = ECHOES[0] in table.columns
    for title, row in table.rows.items():
        server, generator = row.get("server_core", 1), row.get("generator_core", 0)
        if row.get("faults"):
            table.notes.append(
                f"{title}: {row['faults']:.0f} faults (refused, lost, broken frames)"
            )
        if row.get("more"):
            table.notes.append(f"{title}: no load that was tried failed, so this is a lower bound")
        if generator > 0.97 and server < 0.95:
            table.notes.append(f"{title}: the generator was the limit, so this is a lower bound")
        elif closed_loop and server < 0.9 and generator < 0.9:
            table.notes.append(f"{title}: neither core was full: something else used the machine")
