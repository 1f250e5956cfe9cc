"""edgekin doctor: what this machine can run, what is missing, and the remedy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekin.cli.options import result_options

if TYPE_CHECKING:
    from rich.table import Table

    from edgekin.doctor import Examination

MARKS = {"ok": "[green]yes[/]", "warning": "[yellow]partly[/]", "missing": "[red]no[/]"}


@click.command()
@result_options("edgekin.doctor/1")
def command(json_path: Path | None, force: bool) -> None:
    """Say what this machine can run, what is missing, and how to get it.

    Packages are imported, the driver is asked, priority and locked memory are tried. Exit status 1 where the base job,
    a native bundle in the loop, cannot run.
    """
    from rich.console import Console

    from edgekin.doctor import examine
    from edgekin.errors import RuntimeFault
    from edgekin.output import check_output, write_json

    check_output(json_path, force)
    result = examine()
    if json_path is not None:
        write_json(json_path, result.to_json())
    Console(width=None if sys.stdout.isatty() else 140).print(_table(result))
    if not result.base_job:
        raise RuntimeFault("the base job cannot run here: a native bundle in the loop", "See the table")


def _table(result: Examination) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="What this machine can run")
    for heading in ("", "", "", "found", "remedy"):
        table.add_column(heading, overflow="fold")
    before = ""
    for row in result.findings:
        if before and row.section != before:
            table.add_section()
        table.add_row(row.section if row.section != before else "", row.name, MARKS[row.status], escape(row.detail),
                      escape(row.remedy))
        before = row.section
    return table
