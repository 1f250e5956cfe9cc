"""edgekin calibrate-detector: a bundle's inspector learns from healthy motion how its body model errs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekin.cli.progress import Bar

if TYPE_CHECKING:
    from edgekin.calibrating import Calibrated


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--false-alarms-per-hour", "per_hour", type=float, default=1.0, show_default=True, metavar="RATE",
              help="That are allowed.")
@click.option("--camera-hz", type=float, default=60.0, show_default=True,
              help="Fresh pictures a second that the inspector will see; with --data, that it has.")
@click.option("--hours", type=float, metavar="H",
              help="Of simulated healthy motion that set the thresholds.  [default: 0.5 at 60 Hz, as many frames at "
                   "others, 10 minutes at least]")
@click.option("--fit-minutes", type=float, metavar="M",
              help="Of other simulated motion that the model's own errors are learned from.  [default: 20]")
@click.option("--data", type=click.Path(path_type=Path), metavar="NPZ",
              help="Healthy frames in the order of time instead of simulated ones: every other stretch of 30 s is "
                   "learned from, the rest sets the thresholds.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the simulated motion.")
@click.option("--force", is_flag=True, help="Replace an existing inspection.json and JSON.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), metavar="PATH",
              help="Write the result (schema edgekin.calibrate-detector/1).")
def command(bundle: Path | None, force: bool, json_path: Path | None, **options: Any) -> None:
    """Calibrate the inspector of a BUNDLE (by default the latest) on healthy motion.

    The inspector finds which link or camera deviates, and by how much. Its settings, inspection.json, become a file of
    the bundle. Frames that are not of the healthy body are refused.
    """
    from edgekin.bundle import latest_bundle
    from edgekin.calibrating import InspectionPlan, calibrate_bundle
    from edgekin.output import check_output, write_json

    check_output(json_path, force)
    with Bar() as bar:
        found = calibrate_bundle(bundle or latest_bundle(), InspectionPlan(**options), force, bar)
    if json_path is not None:
        write_json(json_path, found.to_json())
    _show(found)


def _show(found: Calibrated) -> None:
    from rich.console import Console
    from rich.table import Table

    record, config = found.record, found.config
    # The table is wider than the 80 columns that rich takes for a pipe.
    console = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 120)
    table = Table(title=f"{record['hours']:.2g} hours of healthy motion watched at {config.camera_hz:g} Hz, "
                        f"{record['frames']:,} frames learned from")
    for heading in ("alarm on", "threshold", "highest healthy", "unit"):
        table.add_column(heading, justify="left" if heading in ("alarm on", "unit") else "right")
    for what, threshold, highest, unit in (
            ("evidence of several pictures", config.threshold, "highest", "nats"),
            ("evidence of one picture", config.threshold + config.handicap[0], "highest_single", "nats"),
            ("what no deviation explains", config.unexplained_sum, "highest_unexplained", "standard deviations")):
        table.add_row(what, f"{threshold:.1f}", f"{record[highest]:.1f}", unit)
    console.print(table)
    console.print(_confidence(record))
    if not record["commands"]:
        console.print("the data have no commands, so nothing says how well joints follow them: encoders that are off "
                      "and joints that stand are not told from commands")
    console.print(f"written: {found.bundle / 'inspection.json'}, in {found.seconds:.0f} s")


def _confidence(record: dict[str, Any]) -> str:
    """What the hours support, and what is extrapolated."""
    asked = f"{record['false_alarms_per_hour']:g} an hour"
    if record["rate_bound_per_hour"] is None:
        return (f"{record['alarms']} alarms in these hours that no threshold holds back, "
                f"{record['alarms'] / record['hours']:.2g} an hour; asked for: {asked}")
    bound = f"no alarm in these hours: below {record['rate_bound_per_hour']:.2g} an hour with 95% confidence"
    if record["extrapolated"] <= 1.0:
        return f"{bound}; asked for: {asked}"
    return (f"{bound}; asked for: {asked}, {record['extrapolated']:.2g} times less than that: the thresholds are "
            "extrapolated beyond the hours watched")
