"""What was measured: tables of figures."""

from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table as RichTable

from harness.generator import Report
from harness.servers import OURS


@dataclass(frozen=True)
class Column:
    """One column of a table: its heading, the figure it shows, and how to write it.

    A column that is a `ratio_of` figures has this service's divided by the row's: the median of the
    rounds' ratios, which is steadier than the ratio of two medians.
    """

    heading: str
    key: str
    form: str = "{:,.0f}"
    ratio_of: str = ""


VERSUS = Column("this service / it", "versus", "{:.2f}x", ratio_of="rate")
VERSUS_COST = Column("cost: this service / it", "versus", "{:.2f}x", ratio_of="cost")
#: What the server did with the processor time that it got: the fairer figure where its core was
#: not full.
PER_CORE = Column("per CPU second", "per_core")
ECHOES = [Column("echoes/s", "rate"), PER_CORE]
CORES = [
    Column("server core", "server_core", "{:.0%}"),
    Column("generator core", "generator_core", "{:.0%}"),
]
#: How far behind its own schedule the generator sent.
LATE = Column("sent late, p99 ms", "late_p99_ms", "{:.2f}")
#: At a fixed number of frames a second.
COST = [
    Column("us of processor a frame", "cost", "{:.1f}"),
    Column("p50 ms", "p50_ms", "{:.2f}"),
    Column("p99 ms", "p99_ms", "{:.2f}"),
    *CORES,
]


@dataclass
class Table:
    """One measurement's outcome: medians by row title, and notes on what they mean."""

    title: str
    columns: list[Column]
    rows: dict[str, Report] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def show(self, console: Console) -> None:
        """Print it with its notes; a figure that was not measured stays empty."""
        drawn = RichTable("server", title=self.title, title_justify="left")
        for column in self.columns:
            drawn.add_column(column.heading, justify="right")
        for title, row in self.rows.items():
            cells = [
                column.form.format(row[column.key]) if column.key in row else ""
                for column in self.columns
            ]
            drawn.add_row(title, *cells, style="bold" if title == OURS.title else None)
        console.print(drawn if self.rows else self.title)
        for note in self.notes:
            console.print(f"  {note}", style="dim", markup=False, highlight=False)
        console.print()
