"""edgekin evaluate: the score of a run or a bundle on a dataset."""

from __future__ import annotations

from pathlib import Path

import click

from edgekin.cli.options import result_options


@click.command()
@click.argument("subject", required=False, metavar="[BUNDLE|RUN]", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="A dataset (.npz).  [default: the run's test split]")
@result_options("edgekin.evaluate/1")
def command(subject: Path | None, data: Path | None, force: bool, json_path: Path | None) -> None:
    """Score a run or a bundle (by default the latest run) on a dataset.

    A run is scored through torch, a bundle through the engine that would run it on the device.
    """
    from rich.console import Console
    from rich.table import Table

    from edgekin.compile.evaluate import evaluate
    from edgekin.output import check_output, write_json

    check_output(json_path, force)
    found = evaluate(subject, data)
    if json_path is not None:
        write_json(json_path, found.to_json())
    table = Table(title=f"{found.kind} {found.subject}, {found.precision} by {found.engine}, {found.n:,} samples of "
                        f"{found.data}")
    for heading in ("", "PSNR dB", "IoU"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row(f"[bold]{found.kind}[/]", f"[bold]{found.score.psnr_db:.2f}[/]", f"[bold]{found.score.iou:.4f}[/]")
    for name, floor in found.floors.items():
        table.add_row(f"floor: {name.replace('_', ' ')}", f"{floor.psnr_db:.2f}", f"{floor.iou:.4f}")
    Console(soft_wrap=True).print(table)
