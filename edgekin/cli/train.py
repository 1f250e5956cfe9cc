"""edgekin train: samples, a self-model fitted to them, and its score beside the floors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgekin.training.settings import TrainConfig
    from edgekin.training.train import TrainResult


@click.command()
@click.option("--robot", help="arm4, a URDF, a RobotSpec YAML or a path inside pybullet_data.  [default: arm4]")
@click.option("--model",
              help="neurokin, undistilled; resneurokin-d, distilled; k3dgs or ffksm.  "
                   "[default: k3dgs and, distilled from it, neurokin]")
@click.option("--no-body-model", is_flag=True, help="The decoder alone: for robots whose chain is not known.")
@click.option("--teacher", metavar="RUN", help="Distil the decoder from the body model of another run.")
@click.option("--size", help="s, m, l, or neurokin's and ffksm's published.  [default: m]")
@click.option("--learn", metavar="WHAT",
              help="k3dgs: background, camera, chain or unknown-chain, by commas; ffksm: background; '' for none. "
                   "chain: the robot's is off by some degrees; unknown-chain: only its joints' order, kinds and limits "
                   "are taken, and its base.  [default: what the pictures ask for]")
@click.option("--depth", is_flag=True, default=None,
              help="k3dgs: score depth, too. resneurokin-d always learns it.")
@click.option("--protocol", type=click.Choice(["uniform", "lorenz", "published", "views"]),
              help="Which samples; without it, uniform with 8,000 of them (beyond 5 joints 24,000).")
@click.option("--cameras", type=int, metavar="N",
              help="Protocol views: training cameras; others between them are the test.  [default: 16]")
@click.option("--arc", "arc_deg", type=float, metavar="DEG",
              help="Protocol views: the arc around the robot that cameras stand on.  [default: 80]")
@click.option("--data", help="A dataset (.npz) instead of a protocol; its last blocks are the test split.")
@click.option("--samples", type=int, help="Training samples.")
@click.option("--budget", "budget_s", type=float, metavar="SECONDS",
              help="Time for the fit.  [default: a pair 780, one model 150; beyond 5 joints 840 and 300; ffksm 1200]")
@click.option("--steps", type=int,
              help="Optimiser steps instead of a time budget: repeatable.  [default: none, but for published]")
@click.option("--seed", type=int, help="Of samples, weights and order.  [default: 0]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="auto takes a GPU where there is one.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), metavar="YAML",
              help="Settings in a file; flags stand over it.")
@click.option("--name", help="Of the run under $EDGEKIN_RUNS or ./runs.  [default: robot, size and time]")
@click.option("--resume", "resume_run", is_flag=True, help="Go on with --name, or with the run interrupted last.")
@click.option("--force", is_flag=True, help="Replace a run and JSON of the same name.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the metrics, schema edgekin.train/1.")
def command(config_path: Path | None, resume_run: bool, force: bool, json_path: Path | None, no_body_model: bool,
            **flags: Any) -> None:
    """Train a self-model and score it beside its floors.

    Without --model two: a body model of the robot's chain, and a decoder that is distilled from it. Without arguments:
    of the built-in arm, in about fourteen minutes on every core. The run folder has all that `edgekin compile` needs.

    Without --protocol and --data, a body model also learns from pictures by cameras about the robot's own and of the
    robot with links taken off: what it needs when a camera is knocked, or a link is lost.
    """
    from edgekin.output import check_output, write_json
    from edgekin.training.train import resume, train

    check_output(json_path, force)
    given = {key: value for key, value in flags.items() if value is not None}
    if resume_run:
        _only_name(given | ({"no-body-model": True} if no_body_model else {}), config_path)
        with _Bars() as bars:
            result = resume(given.get("name"), bars)
    else:
        config = _config(config_path, given, no_body_model)
        with _Bars() as bars:
            result = train(config, force, bars)
    if json_path is not None:
        write_json(json_path, result.metrics)
    _show(result)


def _only_name(given: dict[str, Any], config_path: Path | None) -> None:
    others = sorted(set(given) - {"name"}) + (["config"] if config_path else [])
    if others:
        raise click.UsageError(f"--resume goes on with the run's own settings; leave out {', '.join(others)}")


def _config(path: Path | None, given: dict[str, Any], no_body_model: bool) -> TrainConfig:
    """Defaults, under the YAML file, under the flags; where neither names a model, the pair."""
    from edgekin.config import from_mapping, load_yaml
    from edgekin.training.settings import BODY, STUDENTS, TrainConfig

    values = load_yaml(path) if path is not None else {}
    if "model" in given and "teacher" not in given:
        values.pop("teacher", None)
    if no_body_model:
        if given.get("model", values.get("model", "neurokin")) not in STUDENTS or "teacher" in given:
            raise click.UsageError("--no-body-model trains a decoder alone; leave out --teacher, and --model or name "
                                   f"{' or '.join(STUDENTS)}")
        values.pop("teacher", None)
    elif "teacher" not in {*values, *given} and {**values, **given}.get("protocol") != "views" \
            and {**values, **given}.get("model") in (None, "resneurokin-d"):
        values["teacher"] = BODY
    # A flag of a pair replaces the file's choice between the two.
    for one, other in (("budget_s", "steps"), ("data", "protocol")):
        for flag, excluded in ((one, other), (other, one)):
            if flag in given and excluded not in given:
                values.pop(excluded, None)
    where = f"{path} and flags" if path is not None else "the command line"
    return from_mapping(TrainConfig, {**values, **given}, where)


class _Bars:
    """A progress bar on stderr for the stage at work."""

    def __enter__(self) -> _Bars:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        self.progress = Progress(TextColumn("{task.description:>12}"), BarColumn(), TaskProgressColumn(),
                                 TimeElapsedColumn(), console=Console(stderr=True), transient=True)
        self.tasks = {"preparing": self.progress.add_task("preparing", total=None)}
        self.progress.start()
        return self

    def __call__(self, stage: str, share: float) -> None:
        if stage not in self.tasks:
            for task in self.tasks.values():
                self.progress.update(task, visible=False)
            self.tasks[stage] = self.progress.add_task(stage, total=1.0)
        self.progress.update(self.tasks[stage], completed=share)

    def __exit__(self, *_: object) -> None:
        self.progress.stop()


def _cells(score: dict[str, Any], depth: bool) -> list[str]:
    """PSNR, IoU and, where the data have it, depth error as a table shows them."""
    error = score.get("depth_mae_m")
    return [f"{score['psnr_db']:.2f}", f"{score['iou']:.4f}", *(["-" if error is None else f"{1e3 * error:.1f}"]
                                                                if depth else [])]


def _show(result: TrainResult) -> None:
    from rich.console import Console
    from rich.table import Table

    m = result.metrics
    console = Console(soft_wrap=True)
    about = f"{m['model']} {m['size']}, protocol {m['protocol']}, {m['n_train']:,} training samples"
    whole = m.get("whole_test")
    for first, part in (("first ", m), ("", whole)) if whole else (("", m),):
        table = Table(title=f"{about}, {first}{part['n_test']:,} test samples")
        depth = "depth_mae_m" in part
        for heading in ("", "PSNR dB", "IoU", "depth error mm")[: 4 if depth else 3]:
            table.add_column(heading, justify="left" if not heading else "right")
        table.add_row("[bold]model[/]", *(f"[bold]{cell}[/]" for cell in _cells(part, depth)))
        for name, floor in part["floors"].items():
            table.add_row(f"floor: {name.replace('_', ' ')}", *_cells(floor, depth))
        console.print(table)
    body = m.get("body")
    if body is not None:
        console.print(f"body model {body['model']} {body['size']}: {body['psnr_db']:.2f} dB, IoU {body['iou']:.4f}, "
                      f"{body['parameters']:,} parameters, {body['steps']:,} steps in {body['train_seconds']:.0f} s"
                      + ("" if body["teaches"] else "; [bold]it hardly knows the frames, so it taught nothing[/]"))
    console.print(f"{m['parameters']:,} parameters, {m['macs']:,} MACs; {m['steps']:,} steps in "
                  f"{m['train_seconds']:.0f} s on {m['device']}")
    console.print(f"run: {result.run.path}", highlight=False)
