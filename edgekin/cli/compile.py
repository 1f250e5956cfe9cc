"""edgekin compile: a trained run becomes a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console
    from rich.table import Table

    from edgekin.compile.pipeline import CompileConfig
    from edgekin.compile.result import CompileResult


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--int8", "precision", flag_value="int8", help="Symmetric int8 after calibration (the default).")
@click.option("--fp32", "precision", flag_value="fp32", help="No quantization.")
@click.option("--fp16", "precision", flag_value="fp16", help="FP16 body; not for target native.")
@click.option("--target", type=click.Choice(["auto", "native", "cuda", "onnx", "tensorrt", "tensorrt-rtx", "mcu"]),
              default="native", show_default=True, help="native: the C engines; cuda: our kernels for NVIDIA GPUs; "
              "mcu: standalone C99 for microcontrollers; "
              "onnx: files for ONNX Runtime; tensorrt: a plan for this machine's GPU; tensorrt-rtx: a plan for GPUs "
              "that need not be here; auto: the best that is there.")
@click.option("--sm", metavar="LIST", help="Compute capabilities for tensorrt-rtx and cuda.  "
              "[default: 86,89,120; for cuda 87,90,120]")
@click.option("--core", default="", metavar="CORE", help="For mcu: m3, m4, m7, m33, m55 or rv32.  [default: m4]")
@click.option("--builds", type=int, default=1, show_default=True, help="Plans to build; the fastest is kept.")
@click.option("--no-plan", is_flag=True, help="Without plan and cubins: built on the device, of the bundle.")
@click.option("--calibration", type=click.Path(path_type=Path), metavar="YAML",
              help="Calibration profile; calibration/default.yaml shows the defaults.")
@click.option("--calibration-method", type=click.Choice(["minmax", "percentile", "mse", "entropy", "auto"]),
              help="Over the profile's method.")
@click.option("--samples", type=int, help="Over the profile's number of calibration poses, at least 32.")
@click.option("--max-psnr-loss", type=float, default=0.1, show_default=True, metavar="DB",
              help="Parity gate against the FP32 torch model on the test split; beyond it: status 3, nothing written.")
@click.option("--out", type=click.Path(path_type=Path), help="Bundle folder.  [default: RUN/bundle-PRECISION]")
@click.option("--force", is_flag=True, help="Replace an existing bundle and JSON.")
@click.option("--no-body-model", is_flag=True, help="Leave out the body model that the decoder was distilled from.")
@click.option("--force-int8", is_flag=True, help="Write INT8 even where FP32 is faster on this machine.")
@click.option("--camera-hz", type=float, default=1000.0, show_default=True, help="Frames a second for the detector.")
@click.option("--healthy-seconds", type=float, default=360.0, show_default=True,
              help="Simulated healthy motion that sets the detector's thresholds.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of calibration poses and detector trajectories.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), metavar="PATH",
              help="Write the result (schema edgekin.compile/1).")
def command(run: Path | None, json_path: Path | None, calibration: Path | None, calibration_method: str | None,
            samples: int | None, **options: Any) -> None:
    """Quantize and compile a trained RUN (by default the latest) into a bundle.

    The bundle holds the weights, the ONNX, the detector's thresholds and known answers, and is held against the FP32
    torch model before it is written. INT8 is measured beside FP32 (a plan beside FP16): the slower one is never written
    silently. Where RUN is a bundle, its plan is built for this machine, beside it.
    """
    from edgekin.bundle import MANIFEST
    from edgekin.compile.pipeline import compile_run
    from edgekin.output import check_output, write_json
    from edgekin.training.run import latest_run, load_run

    config = _config(calibration, calibration_method, samples, options)
    check_output(json_path, config.force)
    if run is not None and (run / MANIFEST).is_file():
        return _plan_of(run, config, json_path)
    trained = load_run(run if run is not None else latest_run())
    with _Stages() as stages:
        result = compile_run(trained, config, stages)
    if json_path is not None:
        write_json(json_path, result.to_json())
    _show(result)


def _config(calibration: Path | None, method: str | None, samples: int | None,
            options: dict[str, Any]) -> CompileConfig:
    from edgekin.compile.detector import DetectorPlan
    from edgekin.compile.pipeline import CompileConfig
    from edgekin.compile.tensorrt.maker import PlanOptions
    from edgekin.quantization.calibrate import with_overrides
    from edgekin.quantization.profile import CalibrationProfile, load_profile

    profile = load_profile(calibration) if calibration else CalibrationProfile()
    plan = DetectorPlan(options.pop("camera_hz"), options.pop("healthy_seconds"))
    build = PlanOptions(_capabilities(options.pop("sm")), options.pop("builds"), not options.pop("no_plan"))
    values = {**options, "plan": build, "precision": options["precision"] or "int8",
              "max_psnr_loss_db": options["max_psnr_loss"], "body_model": not options["no_body_model"]}
    del values["max_psnr_loss"], values["no_body_model"]
    return CompileConfig(profile=with_overrides(profile, method, samples), detector=plan, **values).validated()


def _capabilities(text: str | None) -> tuple[int, ...]:
    """86,120 -> (86, 120)."""
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise click.BadParameter(f"{text!r} is no list of compute capabilities, expected e.g. 86,120",
                                 param_hint="--sm") from None


def _plan_of(bundle: Path, config: CompileConfig, json_path: Path | None) -> None:
    """Build the plan of a bundle."""
    from rich.console import Console

    from edgekin.compile.tensorrt.of_bundle import build_for_bundle
    from edgekin.output import write_json

    with _Stages() as stages:
        stages("build the plan", 0.0)
        result = build_for_bundle(bundle, config.target, config.plan, config.force)
    if json_path is not None:
        write_json(json_path, result.to_json())
    console = Console(soft_wrap=True, highlight=False)
    _show_plan(console, result.plan.sidecar(result.path.name))
    console.print(f"held against {result.checked}\nplan: {result.path}")


class _Stages:
    """A progress bar on stderr that names the stage at work."""

    def __enter__(self) -> _Stages:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self.progress = Progress(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(),
                                 console=Console(stderr=True), transient=True)
        self.task = self.progress.add_task("start", total=None)
        self.progress.start()
        return self

    def __call__(self, stage: str, share: float) -> None:
        # A stage that cannot say how far it is shows a pulsing bar.
        self.progress.update(self.task, description=stage, total=1.0 if share else None, completed=share)

    def __exit__(self, *_: object) -> None:
        self.progress.stop()


def _show(result: CompileResult) -> None:
    from rich.console import Console

    from edgekin.bundle import load_bundle

    console = Console(soft_wrap=True)
    console.print(_table(result))
    if result.calibration is not None:
        console.print(f"calibration: {result.calibration.method}, {result.calibration.samples} poses "
                      f"({result.calibration.poses}); INT8 file / FP32 file: "
                      f"{result.weight_bytes / result.weight_bytes_fp32:.3f}")
    if result.body is not None:
        console.print(f"body model: {result.body.product.weight_bytes:,} bytes, {result.body.n_ellipsoids} ellipsoids, "
                      f"{result.body.parity.psnr_db:.2f} dB")
    if result.plan is not None:
        _show_plan(console, result.plan.sidecar)
    if result.target == "cuda":
        _show_kernels(console, result.bundle)
    if result.detector is not None:
        _show_detector(console, result.detector)
    if result.chosen:
        console.print(result.chosen, highlight=False)
    if result.note:
        console.print(result.note, style="" if result.precision == result.asked else "bold red", markup=False)
    if load_bundle(result.bundle).has_body:
        console.print("inspector: not calibrated, which takes minutes; run: edgekin calibrate-detector "
                      f"{result.bundle}", highlight=False)
    console.print(f"bundle: {result.bundle}", highlight=False)


def _show_detector(console: Console, calibration: Mapping[str, Any]) -> None:
    """What scored the healthy frames, and what that stands for."""
    held, note = calibration["held_against"], calibration["note"]
    stands = (f" in place of {held['engine']}, from which it differs by {held['apart']:.2g} of the residuals' spread "
              f"({held['frames']} frames)") if held else ""
    console.print(f"detector: {calibration['frames']:,} healthy frames scored by {calibration['engine']}{stands}"
                  f"{'; ' + note if note else ''}", highlight=False, markup=False)


def _show_kernels(console: Console, bundle: Path) -> None:
    """For which GPUs the kernels are compiled already."""
    import re

    sms = sorted(int(found[1]) for path in bundle.glob("*.cubin") if (found := re.search(r"sm_(\d+)", path.name)))
    there = f"compiled for SM {', '.join(map(str, sms))}" if sms else "not compiled: the device needs nvcc or PyCUDA"
    console.print(f"kernels: source, {there}", highlight=False)


def _show_plan(console: Console, plan: Mapping[str, Any]) -> None:
    """What was built, for what, and the layers that did not get the precision that they were asked for."""
    place, layers = plan["place"], plan["layers"]
    mode = f", power mode {place['power_mode']}" if place["power_mode"] else ""
    asked = [layer for layer in layers if layer["asked"] == plan["precision"]]
    if all(layer["got"] == "unknown" for layer in layers):
        console.print(f"plan: {place['target']} {place['version']} does not tell which precision its layers got")
        return
    kept = sum(layer["asked"] == layer["got"] for layer in asked)
    console.print(f"plan: {place['target']} {place['version']}, SM {', '.join(map(str, place['sms']))}{mode}, "
                  f"{plan['typing']}ly typed; {kept} of {len(asked)} {plan['precision']} layers got it, the other "
                  f"{len(layers) - len(asked)} of {len(layers)} were not asked to", highlight=False)
    for layer in layers:
        if layer["got"] != layer["asked"]:
            console.print(f"  {layer['name']} was asked for {layer['asked']}, got {layer['got']}", style="yellow")
    for reason in dict.fromkeys(plan["dropped"].values()):
        names = ", ".join(name for name, its in plan["dropped"].items() if its == reason)
        console.print(f"  would not build in int8: {names}: {reason}", style="yellow", highlight=False, markup=False)


def _table(result: CompileResult) -> Table:
    from rich.table import Table

    rows = {"fp32": (result.weight_bytes_fp32, result.parity_fp32)}
    if result.rival is not None:
        rows[result.rival[0].precision] = (result.rival[0].weight_bytes, result.rival[1])
    rows[result.precision] = (result.weight_bytes, result.parity)
    table = Table(title=f"{result.bundle.name}, target {result.target}; us a frame at batch 1; loss, IoU and largest "
                        "error of a probability against torch")
    for heading in ("", "bytes", "p50 us", "p99 us", "PSNR dB", "loss dB", "IoU", "error"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, (size, parity) in rows.items():
        time = result.latency.get(name)
        mark = " *" if name == result.precision else ""
        times = (f"{time.p50_us:.0f}", f"{time.p99_us:.0f}") if time is not None else ("-", "-")
        table.add_row(name + mark, f"{size:,}", *times, f"{parity.psnr_db:.3f}",
                      f"{parity.psnr_loss_db:+.4f}", f"{parity.iou_vs_fp32:.4f}", f"{parity.max_abs_error:.4f}")
    return table
