"""Show what was measured: tables for a terminal, and JSON."""

import dataclasses
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from harness.measure import Table
from harness.servers import OURS


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
