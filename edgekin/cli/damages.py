"""edgekin damages: what can happen to an arm here, and how it is written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from edgekin.robot.cases import Case
    from edgekin.robot.spec import RobotSpec


@click.command()
@click.argument("robot", required=False)
@click.option("--file", "path", type=click.Path(path_type=Path), metavar="YAML",
              help="Also list, and check, the named damages of this file.")
@click.option("--force", is_flag=True, help="Replace an existing JSON.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), metavar="PATH",
              help="Write the list (schema edgekin.damages/1).")
def command(robot: str | None, path: Path | None, json_path: Path | None, force: bool) -> None:
    """List the damages and nuisances that can happen to an arm, and what a verdict should call each.

    With a ROBOT also its joints and links, and a --file is checked against it. One is written KIND:TARGET:SIZE@SECONDS,
    several joined by "+" (bench --damage).
    """
    from rich.console import Console

    from edgekin.output import check_output, write_json
    from edgekin.robot import load_robot
    from edgekin.robot.cases import check_case, read_cases

    check_output(json_path, force)
    spec = load_robot(robot) if robot is not None else None
    named = list(read_cases(path).values()) if path is not None else []
    if spec is not None:
        for case in named:
            check_case(spec, case, str(path))
    if json_path is not None:
        write_json(json_path, _content(spec, named))
    _show(Console(soft_wrap=True, emoji=False, width=None if sys.stdout.isatty() else 200), spec, named)


def _content(spec: RobotSpec | None, named: list[Case]) -> dict[str, Any]:
    from dataclasses import asdict

    from edgekin.machine import revision
    from edgekin.robot.cases import standard_cases
    from edgekin.robot.catalogue import CLASSES, KINDS
    from edgekin.robot.events import joined

    kinds = [{**asdict(kind), "form": kind.form, "example": kind.example} for kind in KINDS.values()]
    cases = [*(standard_cases(spec) if spec is not None else []), *named]
    return {"schema": "edgekin.damages/1", "revision": revision(), "robot": spec.name if spec is not None else None,
            "classes": list(CLASSES), "kinds": kinds,
            "cases": [{"name": case.name, "events": joined(case.events), "classes": list(case.classes),
                       "what": case.what} for case in cases]}


def _show(console: Console, spec: RobotSpec | None, named: list[Case]) -> None:
    from rich.table import Table

    from edgekin.robot.cases import standard_cases
    from edgekin.robot.catalogue import KINDS
    from edgekin.robot.events import joined

    for damage, title in ((True, "damages"), (False, "nuisances: never body damage")):
        table = Table(title=title)
        for heading in ("form", "what happens", "sizes", "class", "alarm", "example"):
            table.add_column(heading)
        for kind in (k for k in KINDS.values() if k.damage == damage):
            table.add_row(kind.form, kind.what, ", ".join(f"{size:g}" for size in kind.sizes), kind.expected,
                          "yes" if kind.must_alarm else "may", kind.example)
        console.print(table)
    if named:
        table = Table(title="from the file")
        for heading in ("name", "events", "class", "what happens"):
            table.add_column(heading)
        for case in named:
            table.add_row(case.name, joined(case.events), ", ".join(case.classes), case.what)
        console.print(table)
    console.print("Several at once: bend:2:5@5+camera-bump:2@8. LINK and JOINT: a name, or the joint's number.")
    if spec is not None:
        joints = ", ".join(f"{i} {j.name} ({spec.links[j.child].name})" for i, j in enumerate(spec.actuated, 1))
        console.print(f"{spec.name}: joints (and links) {joints}; {len(standard_cases(spec))} cases with the sizes "
                      "above", highlight=False)
