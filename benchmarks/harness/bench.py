"""How every measurement is taken: rounds in turns, medians, and a word on figures that mislead."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import psutil
from rich.console import Console
from rich.table import Table

from harness.servers import OURS, Kind, Report, Server, ServerError, serving

Once = Callable[[Server], Report]


class Column(NamedTuple):
    """One column of a table: its heading, the figure it shows, and how to write it."""

    heading: str
    key: str
    form: str = "{:,.0f}"


#: What the server did with the processor time that it got: the fairer figure where its core was
#: not full.
PER_CORE = Column("per CPU second", "per_core")
ECHOES = [Column("echoes/s", "rate"), PER_CORE]
CORES = [
    Column("server core", "server_core", "{:.0%}"),
    Column("generator core", "generator_core", "{:.0%}"),
]


@dataclass
class Bench:
    """What every measurement needs: the servers, how long to measure, and where to tell it."""

    kinds: list[Kind]
    quick: bool
    console: Console

    def seconds(self, full: float) -> float:
        """Return how long a run takes that takes so long in full."""
        return full * 0.4 if self.quick else full

    def only(self, *kinds: Kind) -> list[Kind]:
        """Return those of these that are in this run."""
        return [kind for kind in kinds if kind.name in {wanted.name for wanted in self.kinds}]

    def tell(self, what: str) -> None:
        """Say what is being done, between runs: a spinner would share the generator's core."""
        if self.console.is_terminal:
            width = self.console.width - 1
            self.console.print(f"{what:{width}}"[:width], end="\r", style="dim")

    def measure(
        self,
        title: str,
        columns: Sequence[Column],
        kinds: list[Kind],
        once: Once,
        *,
        versus: str = "",
        rounds: int = 3,
        notes: Sequence[str] = (),
    ) -> None:
        """Measure each kind once a round, and show the table of the rounds' medians.

        Every second round goes backwards, so that a machine that slows down favours nobody. With
        `versus`, a column has this service's figure of that name divided by the row's.
        """
        samples: dict[str, list[Report]] = {kind.title: [] for kind in kinds}
        times = range(1 if self.quick else rounds)
        steps = [kind for n in times for kind in kinds[:: (-1) ** n]]
        said = dict.fromkeys(notes)
        for step, kind in enumerate(steps):
            self.tell(f"{title}: {kind.title}, {step} of {len(steps)}")
            try:
                with serving(kind) as server:
                    samples[kind.title].append(once(server))
            except (ServerError, OSError, psutil.Error) as error:
                said[f"{kind.title}: {error}"] = None
        if versus:
            columns = [*columns, Column(f"{versus}: this service / it", "versus", "{:.2f}x")]
        table = Table("server", title=title, title_justify="left")
        for column in columns:
            table.add_column(column.heading, justify="right")
        for row, reports in samples.items():
            figures = medians(reports)
            if row != OURS.title:
                figures |= ratio(samples.get(OURS.title, []), reports, versus)
            cells = [
                form.format(figures[key]) if key in figures else "" for _, key, form in columns
            ]
            table.add_row(row, *cells, style="bold" if row == OURS.title else None)
            closed_loop = ECHOES[0] in columns
            said |= {f"{row}: {warning}": None for warning in warnings(figures, closed_loop)}
        self.tell("")
        self.console.print(table)
        for note in said:
            self.console.print(f"  {note}", style="dim", markup=False, highlight=False)
        self.console.print()


def medians(reports: list[Report]) -> Report:
    """Return each figure's median; one that most rounds do not have is left out."""
    found: Report = {}
    for key in dict.fromkeys(key for report in reports for key in report):
        values = [report[key] for report in reports if key in report]
        if len(values) > len(reports) / 2:
            found[key] = max(values) if key == "faults" else statistics.median(values)
    return found


def ratio(ours: list[Report], theirs: list[Report], key: str) -> Report:
    """Return the median of the rounds' ratios, if every round has both.

    Two runs of one round are half a minute apart at most; the machine's speed drifts.
    """
    if len(ours) != len(theirs):
        return {}
    pairs = zip(ours, theirs, strict=True)
    ratios = [a[key] / b[key] for a, b in pairs if a.get(key) and b.get(key)]
    return {"versus": statistics.median(ratios)} if ratios else {}


def warnings(row: Report, closed_loop: bool) -> list[str]:
    """Say where a figure is not what it seems: faults, a generator at its limit, a busy machine."""
    server, generator = row.get("server_core", 1), row.get("generator_core", 0)
    said = []
    if row.get("faults"):
        said.append(f"{row['faults']:.0f} faults (refused, lost, broken frames)")
    if row.get("more"):
        said.append("no load that was tried failed, so this is a lower bound")
    if generator > 0.97 and server < 0.95:
        said.append("the generator was the limit, so this is a lower bound")
    elif closed_loop and server < 0.9 and generator < 0.9:
        said.append("neither core was full: something else used the machine")
    return said
