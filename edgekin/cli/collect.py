"""edgekin collect: joint angles and silhouettes, simulated or imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgekin.robot import RobotSpec
    from edgekin.sim.dataset import Dataset


@click.command()
@click.argument("robot", default="arm4")
@click.option("--samples", type=int, default=2000, show_default=True)
@click.option("--excitation", type=click.Choice(["lorenz", "sobol"]), default="lorenz", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--workers", type=int, default=0,
              help="Processes; the data do not depend on it.  [default: one per core]")
@click.option("--encoder-noise", type=float, default=0.0, metavar="DEG", help="Standard deviation, degrees.")
@click.option("--mask-noise", type=float, default=0.0, metavar="P", help="Probability that a pixel is flipped.")
@click.option("--depth", is_flag=True, help="Keep metric depth too.")
@click.option("--cameras", type=int, default=0, metavar="N",
              help="See each sample by one of N cameras around the robot instead of its own.")
@click.option("--arc", type=float, default=80.0, show_default=True, metavar="DEG", help="That the cameras stand on.")
@click.option("--convention", type=click.Choice(["center", "tinyrenderer"]), help="Over the robot's pixel convention.")
@click.option("--import", "folder", type=click.Path(path_type=Path), metavar="DIR",
              help="Read joints.csv or .npy and the pictures in masks/ or frames/ of DIR instead of simulating.")
@click.option("--degrees", is_flag=True, help="Import: the joint file is in degrees.")
@click.option("--threshold", type=int, metavar="0-255", help="Import: grey value, or difference to the background.")
@click.option("--dark", is_flag=True, help="Import: the robot is darker than the threshold.")
@click.option("--background", type=click.Path(path_type=Path), help="Import: picture without the robot.")
@click.option("--out", type=click.Path(path_type=Path), help="[default: data/ROBOT-EXCITATION-SEED.npz]")
@click.option("--preview", type=click.Path(path_type=Path), help="Write a PNG with some of the masks.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), metavar="PATH",
              help="Write what was collected (schema edgekin.collect/1).")
@click.option("--force", is_flag=True, help="Overwrite files that exist.")
def command(robot: str, out: Path | None, preview: Path | None, json_path: Path | None, force: bool,
            **options: Any) -> None:
    """Collect joint angles and silhouettes of ROBOT (arm4, a URDF, a RobotSpec YAML, a path inside pybullet_data)."""
    from edgekin.robot import RobotOptions, load_robot
    from edgekin.sim.dataset import save_dataset
    from edgekin.sim.preview import write_preview

    chosen = RobotOptions(convention=options["convention"]) if options["convention"] else None
    spec = load_robot(robot, chosen)
    target = out or _default_path(spec, options)
    _refuse_existing([p for p in (target, preview, json_path) if p is not None], force)
    data = _import(spec, options) if options["folder"] else _simulate(spec, options)
    save_dataset(data, target, force)
    if preview is not None:
        write_preview(data, preview, force)
    _show(data, target)
    _write_json(data, target, json_path, options)


def _default_path(spec: RobotSpec, options: dict[str, Any]) -> Path:
    excitation = "imported" if options["folder"] else options["excitation"]
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in spec.name)
    return Path("data") / f"{name}-{excitation}-{options['seed']}.npz"


def _refuse_existing(paths: list[Path], force: bool) -> None:
    from edgekin.errors import DataError

    for path in paths:
        if path.exists() and not force:
            raise DataError(f"{path} exists already", "Choose another path, or overwrite it with --force")


def _import(spec: RobotSpec, options: dict[str, Any]) -> Dataset:
    from edgekin.sim.importer import ImportOptions, import_recording

    return import_recording(ImportOptions(spec, options["folder"], options["threshold"], options["dark"],
                                          options["background"], options["degrees"]))


def _simulate(spec: RobotSpec, options: dict[str, Any]) -> Dataset:
    import math

    from rich.console import Console
    from rich.progress import Progress

    from edgekin.sim.collect import CollectOptions, collect

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{spec.name} {options['excitation']}", total=options["samples"])
        return collect(
            CollectOptions(spec, options["samples"], options["excitation"], options["seed"], options["workers"],
                           math.radians(options["encoder_noise"]), options["mask_noise"], options["depth"],
                           options["cameras"], options["arc"]),
            lambda done, total: bar.update(task, completed=done, total=total))


def _show(data: Dataset, target: Path) -> None:
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{target}: {len(data)} samples, {data.masks.mean():.1%} of the pixels are robot")
    for column in ("joint", "lowest deg", "highest deg", "coverage of the limits"):
        table.add_column(column, justify="left" if column == "joint" else "right")
    for name, values in zip(data.meta["joints"], np.degrees(data.joint_pos.T), strict=True):
        table.add_row(name, f"{values.min():.1f}", f"{values.max():.1f}", f"{data.meta['coverage'][name]:.1%}")
    Console().print(table)


def _write_json(data: Dataset, target: Path, path: Path | None, options: dict[str, Any]) -> None:
    if path is None:
        return
    from edgekin.machine import revision
    from edgekin.output import write_json

    write_json(path, {
        "schema": "edgekin.collect/1", "revision": revision(), "seed": options["seed"], "dataset": str(target),
        "samples": len(data), "occupancy": float(data.masks.mean()),
        **{k: v for k, v in data.meta.items() if k not in ("schema", "seed")}})
