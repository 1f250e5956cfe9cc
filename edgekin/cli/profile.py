"""edgekin profile: where the time of a bundle's frame goes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekin.cli.options import cpu_options, result_options

if TYPE_CHECKING:
    from rich.table import Table

    from edgekin.profiling import BundleProfile


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@cpu_options
@click.option("--ticks", type=click.IntRange(20, 1_000_000), default=500, show_default=True,
              help="Frames timed at each pose.")
@result_options("edgekin.profile/1")
def command(bundle: Path | None, json_path: Path | None, force: bool, isa: str, ticks: int, cpu: int) -> None:
    """Time every layer of a BUNDLE (by default the latest) beside the roofline of this core.

    The roofline is measured first: multiply-accumulates a second with the engine's instructions, and bytes read a
    second. A layer's share of it is the time that it takes at least, over the time that it took.
    """
    from rich.console import Console

    from edgekin.bundle import latest_bundle
    from edgekin.output import check_output, write_json
    from edgekin.profiling import profile_bundle

    check_output(json_path, force)
    result = profile_bundle(bundle or latest_bundle(), isa, ticks, cpu)
    if json_path is not None:
        write_json(json_path, result.to_json())
    # The table is wider than the 80 columns that rich takes for a pipe.
    console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 120)
    console.print(_table(result))
    roofline, found = result.profile.roofline, result.profile
    console.print(f"one frame, joint angles to score: {found.frame_p50_us:.1f} us p50 without clocks between the "
                  f"layers; {found.ideal_us:.1f} us at the roofline: {found.roofline_share:.0%} of it reached")
    console.print(f"following an arm of 0.5 rad/s at 1 kHz: {found.following_us[0]:.1f} us p50, "
                  f"{found.following_us[1]:.1f} us p99")
    console.print(f"roofline: {roofline.gmacs:.1f} GMAC/s ({found.precision}, {found.isa}), weights "
                  f"{roofline.weights_gb_s:.1f} GB/s, feature maps {roofline.maps_gb_s:.1f} GB/s")


def _table(result: BundleProfile) -> Table:
    from rich.table import Table

    found = result.profile
    table = Table(title=f"{result.path} ({found.isa}), {found.ticks:,} ticks on CPU {result.cpu}")
    for heading in ("layer", "precision", "output", "MACs", "bytes", "p50 us", "p99 us", "time", "roofline"):
        table.add_column(heading, justify="left" if heading in ("layer", "precision") else "right")
    for layer in found.layers:
        reached = "-" if layer.roofline_share is None else f"{layer.roofline_share:.0%}"
        shape = "x".join(str(n) for n in layer.out_shape if n > 1) or "1"
        table.add_row(layer.name, layer.precision, shape, f"{layer.macs:,}",
                      f"{layer.weight_bytes + layer.map_bytes:,}", f"{layer.p50_us:.1f}", f"{layer.p99_us:.1f}",
                      f"{layer.share:.1%}", reached)
    whole = sum(layer.p50_us for layer in found.layers)
    table.add_section()
    table.add_row("sum", "", "", f"{found.macs:,}", f"{found.bytes:,}", f"{whole:.1f}", "", "100%",
                  f"{found.ideal_us / whole:.0%}")
    return table
