"""edgekin bench --target mcu: on an emulated microcontroller."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from edgekin.compile.mcu.bench import McuResult


def run_mcu(bundle: Path | None, core: str | None, poses: int | None, seed: int, json_path: Path | None,
            force: bool) -> None:
    """Run a bundle's model on an emulated microcontroller and show what that took; mismatches miss the gate."""
    from rich.console import Console

    from edgekin.bundle import latest_bundle, load_bundle
    from edgekin.compile.mcu.bench import McuOptions, bench_mcu
    from edgekin.compile.mcu.cores import DEFAULT
    from edgekin.errors import GateMissed
    from edgekin.output import check_output, write_json

    check_output(json_path, force)
    options = McuOptions(core or DEFAULT, **({} if poses is None else {"poses": poses}), seed=seed).validated()
    result = bench_mcu(load_bundle(bundle or latest_bundle()), options)
    if json_path is not None:
        write_json(json_path, result.to_json())
    _show(Console(soft_wrap=True, highlight=False), result)
    if result.mismatches:
        raise GateMissed(f"{result.mismatches} of {result.outputs_checked} outputs on {result.core.name} differ from "
                         "the integer reference")


def _show(console: Console, result: McuResult) -> None:
    from edgekin.compile.mcu.bench import CYCLES, RATES_HZ

    count = "exact" if result.exact else f"by a timer, in steps of {result.core.tick_ns:g}: no compiler for the plugin"
    console.print(f"{result.bundle} on {result.core.name} ({result.core.machine}, emulated), {result.poses} poses, "
                  f"seed {result.seed}")
    console.print(f"outputs checked: {result.outputs_checked:,}, mismatches: {result.mismatches}", style=""
                  if not result.mismatches else "bold red")
    console.print(f"instructions a tick: {result.instructions:,} (predict {result.predict:,}, score {result.score:,}; "
                  f"slowest pose, {count})")
    console.print(f"flash {result.flash_bytes:,} bytes, RAM {result.ram_bytes:,}, stack {result.stack_bytes:,}")
    console.print(f"fidelity: {result.psnr_db:.2f} dB, IoU {result.iou:.4f}")
    clocks = ", ".join(f"{rate:,} Hz: {result.clock_hz(rate) / 1e6:,.0f} MHz" for rate in RATES_HZ)
    console.print(f"clock that holds a loop, estimated at {CYCLES} cycles an instruction: {clocks}")
