"""edgekin bench: a bundle in the real-time loop beside a simulated arm."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from edgekin.cli.options import loop_options, result_options

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from edgekin.benchmark import BenchOptions, BenchResult
    from edgekin.runtime.cuda import CudaInfo
    from edgekin.runtime.detector import Verdict

#: How a verdict looks on a terminal.
STYLES = {"healthy": "green", "damaged": "bold red", "fault": "bold magenta", "unknown": "yellow"}


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--target", type=click.Choice(["mcu"]), help="mcu: not in the loop but on an emulated microcontroller.")
@click.option("--core", metavar="CORE", help="For --target mcu: m3, m4, m7, m33, m55 or rv32.  [default: m4]")
@click.option("--poses", type=int, help="For --target mcu: random poses.  [default: 64]")
@click.option("--hz", type=float, default=1000.0, show_default=True, help="Rate of the loop.")
@click.option("--seconds", type=float, default=10.0, show_default=True, help="Length of the run.")
@click.option("--damage", "damages", multiple=True, metavar="KIND...@SECONDS",
              help="bend:LINK:DEG, lost:LINK, camera-bump:DEG and others (edgekin damages lists them), or a name of "
                   "--damage-file; several times, or joined by +.")
@click.option("--damage-file", type=click.Path(path_type=Path), metavar="YAML",
              help="Named damages (docs/damages.md).")
@click.option("--camera-hz", type=float, default=0.0, help="Rate of the simulated camera.  [default: as --hz]")
@click.option("--mode", type=click.Choice(["event", "timer"]), default="event", show_default=True,
              help="event: wake on a frame; timer: wake at every deadline.")
@click.option("--spin-us", type=float, default=-1.0,
              help="Rise this long before a frame or deadline is due, warm the caches and busy-wait; 0: do not.  "
                   "[default: a quarter of the period, at most 250]")
@click.option("--inspect/--no-inspect", default=True, show_default=True,
              help="Name what happens, where the bundle's inspector was calibrated (edgekin calibrate-detector).")
@click.option("--adapt", is_flag=True, help="Let the inspector's body adapt to what has changed, beside the loop.")
@click.option("--adapted", is_flag=True, help="Begin with the body that edgekin adapt left beside the bundle.")
@loop_options
@click.option("--seed", type=int, default=0, show_default=True, help="Of the arm's motion.")
@click.option("--max-miss-rate", type=click.FloatRange(0.0, 1.0), help="Gate: more misses per frame end with status 3.")
@result_options("edgekin.bench/1")
def command(bundle: Path | None, target: str | None, core: str | None, poses: int | None, json_path: Path | None,
            force: bool, max_miss_rate: float | None, damages: tuple[str, ...], damage_file: Path | None,
            **options: Any) -> None:
    """Run a BUNDLE (by default the latest) in the real-time loop beside a simulated arm.

    Another process moves the arm by PyBullet's dynamics and publishes joint angles and silhouettes through shared
    memory. With --damage something happens to it at the given second, which its controller does not know.

    With --target mcu the model runs on an emulated microcontroller instead, and every output bit is checked (schema
    edgekin.mcu/1).
    """
    if target == "mcu":
        from edgekin.cli.bench_mcu import run_mcu

        return run_mcu(bundle, core, poses, options["seed"], json_path, force)
    if core is not None or poses is not None:
        raise click.UsageError("--core and --poses are for --target mcu")
    from rich.console import Console

    from edgekin.benchmark import BenchOptions
    from edgekin.bundle import latest_bundle
    from edgekin.errors import GateMissed
    from edgekin.output import check_output, write_json
    from edgekin.robot.cases import read_cases, resolve
    from edgekin.robot.events import joined

    check_output(json_path, force)
    damage = joined(resolve("+".join(damages), read_cases(damage_file) if damage_file is not None else {}))
    result = _run(BenchOptions(bundle or latest_bundle(), damage=damage, **options).validated())
    if json_path is not None:
        write_json(json_path, result.to_json())
    _show(Console(soft_wrap=True), result)
    rate = result.loop.latency.miss_rate
    if max_miss_rate is not None and rate > max_miss_rate:
        raise GateMissed(f"{rate:.3%} of the verdicts were late, the gate allows {max_miss_rate:.3%}")


def _run(options: BenchOptions) -> BenchResult:
    """Run with a live line on stderr; SIGTERM ends the run as Ctrl-C does: stopped clean, nothing written."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from edgekin.benchmark import run_bench

    def terminate(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as live:
            task = live.add_task("start", total=options.seconds)

            def progress(elapsed: float, verdict: Verdict, state: str = "") -> None:
                text = f"[{STYLES[verdict.name]}]{verdict.name}[/] z {verdict.z:+.1f} cusum {verdict.cusum:.1f} {state}"
                live.update(task, completed=elapsed, description=text)

            return run_bench(options, progress)
    except KeyboardInterrupt:
        click.echo("stopped before the end: the verdict is unknown, nothing was written", err=True)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(console: Console, result: BenchResult) -> None:
    latency, loop, arm = result.loop.latency, result.loop, result.arm
    from edgekin.runtime.findings import said_of

    console.print(_table(result))
    misses = latency.misses
    if result.gpu is not None:
        _show_gpu(console, result.gpu)
    console.print(f"deadline misses: {misses.count} of {latency.frames} frames ({latency.miss_rate:.3%}): own work "
                  f"{misses.own}, preempted {misses.preempted}, stolen {misses.stolen}, unknown {misses.unknown}")
    console.print(f"ticks {latency.ticks}, frames {latency.frames}, skipped {latency.frames_skipped}, torn "
                  f"{latency.torn_frames}; jitter (wake-up p99 - p50) {latency.jitter_us:.1f} us; CPU time stolen from "
                  f"this machine {loop.steal_ms:.0f} ms")
    console.print(_energy(result))
    console.print(f"peak resident memory of this process {result.peak_rss_mb:.1f} MB")
    shares = ", ".join(f"{name} {share:.1%}" for name, share in loop.verdict_shares.items() if share)
    console.print(f"verdicts of the ticks: {shares}")
    console.print("allowed: " + "; ".join(f"{name}: {answer}" for name, answer in loop.permissions.items()))
    if loop.psnr_db is not None:
        console.print(f"fidelity on {loop.scored_frames} healthy live frames: {loop.psnr_db:.2f} dB, "
                      f"IoU {loop.iou:.4f}")
    if not arm.kept_up:
        console.print(f"[yellow]the simulated arm reached {arm.camera_hz:.0f} of {arm.wanted_camera_hz:.0f} frames a "
                      f"second on this machine ({arm.skipped_frames} skipped)[/]")
    if result.adaptation is not None:
        _show_adaptation(console, result.to_json()["adaptation"])
    if result.detection.alarm != "body damage" and (told := said_of(result.drifts)):
        console.print(told)
    console.print(_verdict(result))


def _show_adaptation(console: Console, told: dict[str, Any]) -> None:
    steps, work = told["steps"], told["judge_ms"]
    console.print("adaptation: " + " -> ".join(f"{step['state']} at {step['ms'] / 1e3:.2f} s" for step in steps))
    console.print(f"the adapter's work on a picture: p50 {work['p50']:.2f}, max {work['max']:.2f} ms, in a thread of "
                  f"its own; {told['pictures']:,} pictures")
    if told["psnr_after_db"] is not None:
        console.print(f"pictures that tried the new body: {told['psnr_before_db']:.2f} dB by the one before, "
                      f"{told['psnr_after_db']:.2f} dB by it")
    if told["taken_ms"] is not None:
        console.print(f"the loop took the body over at {told['taken_ms'] / 1e3:.2f} s, between two pictures: "
                      f"{', '.join(told['changes']) or 'the model'}")


def _show_gpu(console: Console, gpu: CudaInfo) -> None:
    how = "replayed as a graph" if gpu.graph else "enqueued"
    work = (f"a plan of {gpu.guest}" if gpu.guest else
            f"launches a tick: {gpu.n_launches} of {gpu.blocks} x {gpu.threads} threads")
    console.print(f"GPU: {gpu.name}, sm_{gpu.sm}; {work}, {how}; io {gpu.io}, sync {gpu.wait}", highlight=False)
    if gpu.note:
        console.print(f"[yellow]{gpu.note}[/]")


def _table(result: BenchResult) -> Table:
    from rich.table import Table

    latency, options = result.loop.latency, result.options
    table = Table(title=f"{result.bundle.path} ({result.isa}), {options.hz:g} Hz {options.mode} mode, "
                        f"{latency.duration_s:.1f} s")
    for heading in ("us", "p50", "p99", "p99.9", "max", "n"):
        table.add_column(heading, justify="left" if heading == "us" else "right")
    for name, p in (("wake-up", latency.wakeup), ("execution", latency.exec),
                    ("frame to verdict", latency.frame_to_verdict)):
        rare = "-" if p.p99_9 is None else f"{p.p99_9:.1f}"
        table.add_row(name, f"{p.p50:.1f}", f"{p.p99:.1f}", rare, f"{p.max:.1f}", f"{p.n:,}")
    return table


def _energy(result: BenchResult) -> str:
    """Energy and clocks in a line, or why there is none."""
    power, clocks = result.power, result.clocks
    latency = result.loop.latency
    content = power.to_json(latency.ticks, latency.duration_s)
    if content["energy_per_tick_mj"] is None:
        energy = "energy not measured: " + "; ".join(f"{name}: {why}" for name, why in power.why_not.items())
    else:
        sources = ", ".join(f"{e.source} {e.mean_w:.1f} W" for e in power.energies)
        energy = f"energy {content['energy_per_tick_mj']:.2f} mJ a tick ({sources}; the simulated arm's is in it)"
    mhz = [f"{name} {before:.0f} -> {after:.0f} MHz" for name, before, after in (
        (f"CPU {clocks.cpu}", clocks.before.cpu_mhz, clocks.after.cpu_mhz),
        ("GPU", clocks.before.gpu_mhz, clocks.after.gpu_mhz),
        ("memory", clocks.before.memory_mhz, clocks.after.memory_mhz)) if before is not None and after is not None]
    locked = {True: ", locked", False: ", not locked", None: ""}[clocks.locked]
    held = ", ".join(clocks.throttled_by) or ("not counted" if clocks.throttle_events is None else "none")
    return f"{energy}\nclocks: {', '.join(mhz) or 'not told'}{locked}; throttling: {held}"


def _verdict(result: BenchResult) -> str:
    found, style = result.detection, STYLES[result.detection.verdict]
    head = f"verdict: [{style}]{found.verdict.upper()}[/]"
    if result.adaptation is not None and result.adaptation.last.change is not None:
        head += " by the adapted body"
    if found.alarm:
        head += f" ({found.alarm}: {found.found})"
    false = f"{found.false_alarms} false alarm(s)"
    if found.delay_frames is not None:
        return (f"{head}, alarm {found.delay_ms:.1f} ms and {found.delay_frames} frames after {found.damage}; {false}")
    if found.damage:
        return f"{head}; {found.damage} was not detected; {false}"
    reason = result.loop.last.reason_name
    return f"{head}{'' if reason == 'ok' else f' ({reason})'}; no damage was simulated; {false}"
