"""edgekin drift: what pictures tell of encoders that go wrong slowly."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekin.cli.progress import Bar

if TYPE_CHECKING:
    from rich.table import Table

    from edgekin.adapting.drift import Drifted


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--damage", "damages", multiple=True, default=("encoder-drift:2:0.2@5",), show_default=True,
              metavar="KIND...", help="What happens to encoders, and when; several times, or joined by +.")
@click.option("--seconds", type=float, default=90.0, show_default=True, help="Of motion that is watched.")
@click.option("--camera-hz", type=float, default=60.0, show_default=True, help="Fresh pictures a second.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the simulated motion and noise.")
@click.option("--force", is_flag=True, help="Replace an existing JSON and PNG.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), metavar="PATH",
              help="Write the result (schema edgekin.drift/1).")
@click.option("--png", "png_path", type=click.Path(path_type=Path), metavar="PATH",
              help="Draw the estimates beside the truth, and the controller's error with and without them.")
def command(bundle: Path | None, damages: tuple[str, ...], force: bool, json_path: Path | None, png_path: Path | None,
            **options: Any) -> None:
    """Watch a simulated arm whose encoders go wrong, by the inspector of a BUNDLE (by default the latest).

    Estimates come from pictures of many poses, before and after there is an alarm. What is sure of them is taken off
    the encoders of a controller that reaches for points: the table has by how much its tip misses with and without.
    """
    from rich.console import Console

    from edgekin.adapting.drift import DriftPlan, drift
    from edgekin.bundle import latest_bundle
    from edgekin.output import check_output, write_atomic, write_json

    for file, option in ((json_path, "--json"), (png_path, "--png")):
        check_output(file, force, option)
    plan = DriftPlan("+".join(damages), **options).validated()
    with Bar() as bar:
        found = drift(bundle or latest_bundle(), plan, lambda done, total: bar("frames", done, total))
    if json_path is not None:
        write_json(json_path, found.to_json())
    if png_path is not None:
        from edgekin.report.drift_plot import draw

        write_atomic(png_path, draw(found.to_json()))
    # The table is wider than the 80 columns that rich takes for a pipe.
    console = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 120)
    console.print(_encoders(found))
    console.print(_tips(found))
    console.print("no alarm" if found.alarm_s is None else
                  f"alarm ({found.alarm}: {found.named}) at {found.alarm_s:.1f} s")


def _encoders(found: Drifted) -> Table:
    from rich.table import Table

    last = found.looks[-1]
    table = Table(title=f"{found.bundle}: {found.plan.damage}, after {last.time_s:.0f} s: encoders read too much by")
    for heading in ("joint", "truth deg", "pictures deg", "95%", "sure from"):
        table.add_column(heading, justify="left" if heading == "joint" else "right")
    known = {one.joint: one for one in last.drifts}
    for joint, true in zip(found.joints, last.true_deg, strict=True):
        one, since = known.get(joint), found.first_s.get(joint)
        low, high = one.interval if one else (0.0, 0.0)
        table.add_row(joint, f"{true:+.2f}", f"{one.deg:+.2f}" if one else "not known",
                      f"{low:+.2f} to {high:+.2f}" if one else "", "" if since is None else f"{since:.0f} s")
    return table


def _tips(found: Drifted) -> Table:
    from rich.table import Table

    table = Table(title="by how much the tip misses, mm")
    for heading in ("after", "encoders as they are", "corrected by pictures"):
        table.add_column(heading, justify="right")
    for look in found.tips:
        table.add_row(f"{look.time_s:.0f} s", f"{look.tip_mm:.2f}", f"{look.corrected_mm:.2f}")
    return table
