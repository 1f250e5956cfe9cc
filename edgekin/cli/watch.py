"""edgekin watch: a bundle in the real-time loop beside an arm that something else moves."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from edgekin.cli.options import loop_options

if TYPE_CHECKING:
    from edgekin.runtime.detector import Verdict
    from edgekin.runtime.engine import Engine
    from edgekin.runtime.findings import Drift
    from edgekin.runtime.loop import LoopReport
    from edgekin.watching import Said


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--ring", required=True, type=click.Path(path_type=Path),
              help="Shared memory into which the robot's driver publishes joint angles and silhouettes.")
@click.option("--hz", type=float, default=1000.0, show_default=True, help="Rate of the frames and of the loop.")
@click.option("--seconds", type=float, default=0.0, help="Length of the run.  [default: until stopped]")
@loop_options
@click.option("--inspect/--no-inspect", default=True, show_default=True,
              help="Name what happens, where the bundle's inspector was calibrated (edgekin calibrate-detector).")
@click.option("--adapted", is_flag=True, help="Expect the body that edgekin adapt left beside the bundle.")
@click.option("--latch", type=click.Path(path_type=Path), metavar="PATH",
              help="Remember an alarm in this file, so that a restart does not forget it.")
@click.option("--acknowledge", is_flag=True, help="Forget the alarm that --latch remembers.")
def command(bundle: Path, ring: Path, **options: Any) -> None:
    """Watch an arm: run a BUNDLE on the frames of a ring and print every change of the verdict.

    Waits for the ring where it does not exist yet. SIGTERM and Ctrl-C stop it clean, with the verdict unknown. Under
    systemd (Type=notify) it says when it is ready and pings the watchdog; jetson_setup/05_service.sh makes a unit.
    """
    from edgekin.watching import WatchOptions, watch

    wanted = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal wanted
        wanted = True

    before = [(number, signal.signal(number, stop)) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        _show(watch(WatchOptions(bundle, ring, **options), _changed, lambda: wanted, _opened, _ended))
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _opened(engine: Engine) -> None:
    """Say what of a GPU is not used as it was asked for, and why."""
    from edgekin.runtime.cuda import GpuEngine

    if isinstance(engine, GpuEngine) and engine.cuda.note:
        click.echo(engine.cuda.note)


def _changed(said: Said, verdict: Verdict) -> None:
    sums = "" if said.alarm else f", z {verdict.z:+.1f}, cusum {verdict.cusum:.1f}"
    click.echo(f"verdict: {said.name}{said.because} at frame {verdict.sequence}{sums}")


def _ended(drifts: tuple[Drift, ...]) -> None:
    from edgekin.runtime.findings import said_of

    if told := said_of(drifts):
        click.echo(told)


def _show(report: LoopReport | None) -> None:
    if report is None:
        click.echo("stopped before there was a ring; the verdict is unknown")
        return
    latency = report.latency
    click.echo(f"stopped; the verdict is unknown. {latency.frames} frames in {latency.duration_s:.1f} s, "
               f"{latency.misses.count} deadline misses, execution p50 {latency.exec.p50:.1f} us; "
               + "; ".join(f"{name}: {answer}" for name, answer in report.permissions.items()))
