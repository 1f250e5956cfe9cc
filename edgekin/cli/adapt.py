"""edgekin adapt: a bundle's body adapted to an arm that has changed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekin.cli.progress import Bar

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from edgekin.adapting.result import Adapted, Quality


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--damage", "damages", multiple=True, default=("bend:2:10",), show_default=True, metavar="KIND...",
              help="What happens to the simulated arm (edgekin damages lists it); several times, or joined by +.")
@click.option("--data", type=click.Path(path_type=Path), metavar="NPZ",
              help="Frames in the order of time instead of simulated ones; the last quarter is only scored on.")
@click.option("--frames", type=int, default=58, show_default=True,
              help="From the alarm until the body is adapted; the last 20 of them try it.")
@click.option("--seconds", type=float, default=10.0, show_default=True, help="Of motion after that, which refines it.")
@click.option("--camera-hz", type=float, default=60.0, show_default=True, help="Fresh pictures a second.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the simulated motion and noise.")
@click.option("--out", type=click.Path(path_type=Path), metavar="PATH",
              help="Write the adaptation there.  [default: beside the bundle]")
@click.option("--rollback", is_flag=True, help="Remove the bundle's adaptation instead.")
@click.option("--retrain", "retraining", is_flag=True,
              help="Beside it, what training makes of 100 frames: a new body, and fine-tuning with replay.")
@click.option("--force", is_flag=True, help="Replace an existing adaptation, JSON and PNG.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), metavar="PATH",
              help="Write the result (schema edgekin.adapt/1).")
@click.option("--png", "png_path", type=click.Path(path_type=Path), metavar="PATH",
              help="Draw the arm, what the model predicts of it, and what the adapted body does.")
def command(bundle: Path | None, damages: tuple[str, ...], out: Path | None, rollback: bool, force: bool,
            retraining: bool, json_path: Path | None, png_path: Path | None, **options: Any) -> None:
    """Let the body of a BUNDLE (by default the latest) adapt to an arm that has changed.

    After the inspector's alarm, what changed is fitted to a few pictures, tried on fresh ones, and kept or given back.
    The bundle stays as it was compiled: the adaptation is a small file beside it.
    """
    from rich.console import Console

    from edgekin.adapting.files import rollback as give_back
    from edgekin.adapting.files import write_adaptation
    from edgekin.adapting.plan import AdaptPlan
    from edgekin.adapting.run import adapt
    from edgekin.bundle import latest_bundle, load_bundle
    from edgekin.errors import GateMissed
    from edgekin.opening import adaptation_path
    from edgekin.output import check_output, write_json

    folder = bundle or latest_bundle()
    # The table is wider than the 80 columns that rich takes for a pipe.
    console = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 120)
    if rollback:
        console.print(f"removed {give_back(folder, out)}: the body is the model again")
        return
    path = out or adaptation_path(load_bundle(folder))
    for file, option in ((json_path, "--json"), (png_path, "--png"), (path, "--out")):
        check_output(file, force, option)
    plan = AdaptPlan(damage="+".join(damages), **options).validated()
    with Bar() as bar:
        trained = {}
        if retraining:
            from edgekin.adapting.retrain import retrain

            trained = retrain(folder, plan, bar)
        found = adapt(folder, plan, bar)
    if found.change is not None:
        write_adaptation(found, path)
    if json_path is not None:
        write_json(json_path, found.to_json() | {"retrained": {name: vars(one) for name, one in trained.items()}})
    if png_path is not None:
        from edgekin.sim.preview import write_row

        write_row(found.pictures, png_path)
    _show(console, found)
    for name, one in trained.items():
        console.print(f"{name}, {one.frames} frames, {one.seconds:.1f} s of training: {one.damaged_db:.2f} dB on the "
                      f"damaged arm, {one.healthy_db:.2f} dB on the healthy one")
    if found.change is None:
        raise GateMissed(f"the body is the model's still ({found.first.state}): nothing was written")
    console.print(f"written: {path} ({found.bundle} is as it was)")


def _show(console: Console, found: Adapted) -> None:
    from edgekin.adapting.result import frames_of, milliseconds_of

    first = found.first
    console.print(_table(found))
    alarm = "no alarm" if first.alarm_frame is None else f"alarm at frame {first.alarm_frame}"
    late = "" if found.delay_frames is None else f", {found.delay_frames} frames after the damage"
    console.print(f"{alarm}{late}: {first.named or 'nothing found'}")
    frames, ms = frames_of(first), milliseconds_of(found)
    if found.change is not None and frames is not None and ms is not None:
        console.print(f"adapted after {frames} frames, {ms:.0f} ms: {', '.join(map(str, found.change.named))}")
    console.print("processor time of a frame: p50 {p50:.2f}, p99 {p99:.2f}, max {max:.2f} ms".format(**found.judge_ms))
    given_back = "are the model's, bit for bit" if found.restored else "DIFFER from the model's"
    console.print(f"given back: predictions {given_back}")
    if found.repaired_db is not None:
        console.print(f"the healthy arm again: {max(found.repaired_db, 0.0):.3f} dB lost")


def _table(found: Adapted) -> Table:
    from rich.table import Table

    from edgekin.adapting.result import share_of_gap

    what = found.plan.data or found.plan.damage
    table = Table(title=f"{found.bundle}: {what} at {found.plan.camera_hz:g} Hz")
    for heading in ("body", "PSNR dB", "gap closed", "tip error mm"):
        table.add_column(heading, justify="left" if heading == "body" else "right")

    def row(name: str, quality: Quality | None) -> None:
        if quality is None:
            return
        share = share_of_gap(found.healthy, found.damaged, quality) if found.healthy and found.damaged else None
        table.add_row(name, f"{quality.psnr_db:.2f}", "" if share is None else f"{share:.1%}",
                      "" if quality.tip_mm is None else f"{quality.tip_mm:.2f}")

    row("model, healthy arm", found.healthy)
    row("model, damaged arm", found.damaged)
    row("adapted", found.adapted)
    row(f"adapted, {found.plan.seconds:g} s later", found.refined)
    row(f"model with a linear patch ({found.patch_state})", found.patched)
    return table
