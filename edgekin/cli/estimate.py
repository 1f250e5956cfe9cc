"""edgekin estimate: how long a bundle's frame would take on a device that is not at hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekin.cli.options import result_options

if TYPE_CHECKING:
    from rich.table import Table

    from edgekin.estimation import BundleEstimate
    from edgekin.estimation.devices import Range


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--device", required=True, help="orin-nano-8, orin-nano-4, orin-nx-16, orin-nx-8, agx-orin-64, "
                                              "agx-orin-32, h100 or h200.")
@click.option("--mode", default="", help="Power mode of nvpmodel.  [default: the fastest]")
@click.option("--gpu-mhz", type=float, help="Instead of the power mode's.")
@click.option("--cpu-mhz", type=float, help="Instead of the power mode's.")
@click.option("--memory-mhz", type=float, help="Instead of the power mode's (EMC).")
@result_options("edgekin.estimate/1")
def command(bundle: Path | None, json_path: Path | None, force: bool, device: str, mode: str, **mhz: Any) -> None:
    """Estimate how long a frame of a BUNDLE (by default the latest) would take on a device: a roofline, no measurement.

    From multiply-accumulates, bytes, launches and clocks; each figure is a range from what the device cannot be faster
    than to what is assumed at worst. Constants and sources: edgekin/data/devices.yaml.
    """
    from rich.console import Console

    from edgekin.bundle import latest_bundle
    from edgekin.estimation import estimate_bundle
    from edgekin.output import check_output, write_json

    check_output(json_path, force)
    clocks = {name: value for name, value in mhz.items() if value is not None}
    result = estimate_bundle(bundle or latest_bundle(), device, mode, clocks)
    if json_path is not None:
        write_json(json_path, result.to_json())
    console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 140)
    console.print(_table(result))
    console.print("An estimate: this device was not measured. Dense work; native skips inputs that are zero, which is "
                  "its best case. Constants, assumptions and sources: edgekin/data/devices.yaml")


def _table(result: BundleEstimate) -> Table:
    from rich.table import Table

    device, clocks = result.device, result.device.clocks
    cpu = f", CPU {clocks.cpu_mhz:g} MHz" if clocks.cpu_mhz else ""
    table = Table(title=f"ESTIMATE of {result.bundle} on {device.name}, {device.mode}: GPU {clocks.gpu_mhz:g} MHz, "
                        f"memory {device.memory_gb_s:.0f} GB/s{cpu}; {result.workload.macs:,} MACs a frame")
    for heading in ("engine", "precision", "bytes", "weights in", "kernels", "compute us", "memory us", "launches us",
                    "estimate us", "mostly"):
        table.add_column(heading, justify="left" if heading in ("engine", "precision", "mostly") else "right")
    for row in result.estimates:
        table.add_row(row.engine, row.precision, f"{result.workload.bytes(row.precision):,}", row.weights_in,
                      _shown(row.launches, 0), _shown(row.compute_us), _shown(row.memory_us), _shown(row.launch_us),
                      f"[bold]{_shown(row.total_us)}[/]", row.bound)
    return table


def _shown(value: Range, digits: int = 1) -> str:
    best, worst = f"{value.best:.{digits}f}", f"{value.worst:.{digits}f}"
    return best if best == worst else f"{best} - {worst}"
