"""Show what was measured: tables for a terminal, one picture, and JSON."""

import dataclasses
import json
import textwrap
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from harness.generator import Report
from harness.measure import Table
from harness.servers import CEILING, OURS

#: The two rows that are read against all others.
COLOURS = {OURS.title: "black", CEILING.title: "0.75"}


def show(console: Console, table: Table) -> None:
    """Print one table with its notes; a figure that was not measured stays empty."""
    if table.rows:
        drawn = RichTable("server", title=table.title, title_justify="left")
        for column in table.columns:
            drawn.add_column(column.heading, justify="right")
        for title, row in table.rows.items():
            cells = [
                column.form.format(row[column.key] * column.scale) if column.key in row else ""
                for column in table.columns
            ]
            drawn.add_row(title, *cells, style="bold" if title == OURS.title else None)
        console.print(drawn)
    else:
        console.print(table.title)
    for note in table.notes:
        console.print(f"  {note}", style="dim", markup=False, highlight=False)
    console.print()


def save(path: Path, tables: list[Table], facts: dict[str, str]) -> None:
    """Write every figure as JSON, with the facts of the run."""
    content = {"run": facts, "tables": [dataclasses.asdict(table) for table in tables]}
    path.write_text(json.dumps(content, indent=2) + "\n")


def plot(path: Path, tables: list[Table]) -> None:
    """Draw bars of the echo rate and of streams a core, and lines of latency; needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    by_name = {table.name: table for table in tables if table.rows}
    bars = [
        (name, key)
        for name, key in (("echo 320", "rate"), ("streams", "streams"))
        if name in by_name
    ]
    panels = len(bars) + ("latency" in by_name)
    if not panels:
        return
    figure, axes = pyplot.subplots(
        1, panels, figsize=(6.5 * panels, 4.5), squeeze=False, layout="constrained"
    )
    for axis, (name, key) in zip(axes[0], bars, strict=False):
        rows = {title: row[key] for title, row in by_name[name].rows.items() if key in row}
        drawn = axis.barh(
            list(rows),
            list(rows.values()),
            color=[COLOURS.get(title, "tab:blue") for title in rows],
        )
        axis.bar_label(drawn, fmt="{:,.0f}", padding=3)
        axis.set_title(textwrap.fill(by_name[name].title, 50), fontsize=10)
        axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.invert_yaxis()
        axis.margins(x=0.2)
    if "latency" in by_name:
        axis = axes[0][-1]
        for title, row in by_name["latency"].rows.items():
            points = _points(row)
            style = {"color": COLOURS[title], "linewidth": 3} if title in COLOURS else {}
            axis.plot(list(points), list(points.values()), marker="o", label=title, **style)
        axis.axhline(20, color="0.6", linestyle=":")
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.set_xlabel("real-time streams")
        axis.set_title("p99 round trip in ms (dotted: one frame time)", fontsize=10)
        axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _points(row: Report) -> dict[int, float]:
    return {
        int(key.removeprefix("p99_us_")): value / 1000
        for key, value in row.items()
        if key.startswith("p99_us_")
    }
