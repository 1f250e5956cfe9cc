"""One trained network through every CPU engine at batch 1, the same work each: joint angles to residual.

    python benchmarks/bench_engines.py --model published|neurokin --robot URDF [--run RUN] [--seconds 60] [--json PATH]

Everything runs on one thread of one process pinned to one CPU. In each round every engine has a turn of TURN_S seconds,
in an order that rotates; the first frames of a turn warm the caches and are not counted. Peers return logits, which
numpy compares with the mask (timed inside the frame, and separately). The network is a run's, or is trained here.
Memory is the peak resident size of a fresh process that opens and runs one engine alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers import ENGINES, OURS, Engine, NumpyScore, Opened

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = "edgekin.engines/1"
POSES = 64  # test poses that the timed frames go through
TURN_S = 0.05
WARM_FRAMES = 5  # at the start of every turn
P99_9_FRAMES = 10_000  # fewer do not show it
ALONE_FRAMES = 50  # of the process that measures memory
SIZES = {"neurokin": "m", "published": "published"}


@dataclass
class Contestant:
    """An opened engine and what was measured of it."""

    engine: Engine
    opened: Opened
    round_us: list[float] = field(default_factory=list)  # median of each turn
    frame_us: list[float] = field(default_factory=list)
    predict_us: list[float] = field(default_factory=list)
    psnr_db: float = 0.0


# ---- the network and its files


def trained(options: argparse.Namespace) -> Any:
    """Return the run: the one asked for, or one trained here on the uniform protocol."""
    from edgekin.training.run import load_run
    from edgekin.training.settings import TrainConfig
    from edgekin.training.train import train

    if options.run:
        return load_run(options.run)
    os.environ["EDGEKIN_RUNS"] = options.work
    config = TrainConfig(robot=str(options.robot), size=SIZES[options.model], protocol="uniform", test_samples=400,
                         budget_s=options.seconds_train, seed=options.seed, name=options.model)
    return train(config.validated()).run


def export(run: Any, folder: Path) -> dict[str, str]:
    """Write the network for every engine into the folder; return {file: why it could not be written}."""
    from litert import export_litert

    from edgekin.compile.native import NativeTarget, predict_int8
    from edgekin.errors import EdgekinError
    from edgekin.quantization.calibrate import CalibrationSource, resolved, select_poses
    from edgekin.quantization.prepare import prepared
    from edgekin.quantization.profile import CalibrationProfile

    graph, profile = run.self_model.graph(), resolved(CalibrationProfile(), run.train.meta.get("excitation"))
    poses = select_poses(profile, run.train.joint_pos, run.robot.limits, 0, "train.npz")
    calibrator = prepared(graph, poses, CalibrationSource(profile, 0, "train.npz"), predict_int8)
    levels, calibration = calibrator.graph, calibrator.by_method(profile.method)
    products = {"fp32": NativeTarget().fp32(graph), "int8": NativeTarget().int8(levels, calibration)}
    (folder / "model.safetensors").write_bytes(run.self_model.to_bytes())
    failures: dict[str, str] = {}
    for precision, product in products.items():
        for name, content in product.files.items():
            (folder / f"{precision}{Path(name).suffix}").write_bytes(content)
        try:
            scales = dict(calibration.scales) if precision == "int8" else None
            (folder / f"{precision}.tflite").write_bytes(export_litert(levels if scales else graph, scales))
        except (ImportError, EdgekinError) as error:
            failures[f"{precision}.tflite"] = str(error)
    test = run.test
    np.savez(folder / "frames.npz", joint_pos=test.joint_pos.astype(np.float32), packed=test.packed)
    return failures


def frames(folder: Path, count: int) -> tuple[list[NDArray[np.float32]], list[NDArray[np.uint8]]]:
    """Return the joints (1, J) and masks (V, H, ceil(W / 8)) of so many test poses, each contiguous."""
    stored = np.load(folder / "frames.npz")
    # Poses far apart, also where the test split is one motion: our INT8 would follow neighbours in less time.
    rows = np.random.default_rng(0).permutation(len(stored["joint_pos"]))[:count]
    joints, packed = stored["joint_pos"][rows], stored["packed"][rows]
    return [np.ascontiguousarray(q[None]) for q in joints], [np.ascontiguousarray(m) for m in packed]


# ---- timing


def turn(contestant: Contestant, joints: list[Any], packed: list[Any], seconds: float) -> None:
    """Run frames for so many seconds and record them."""
    frame, clock, n = contestant.opened.frame, time.perf_counter_ns, len(joints)
    for i in range(WARM_FRAMES):
        frame(joints[i % n], packed[i % n])
    times: list[float] = []
    stop, i = clock() + int(seconds * 1e9), 0
    while not times or clock() < stop:
        start = clock()
        frame(joints[i % n], packed[i % n])
        times.append((clock() - start) / 1e3)
        i += 1
    contestant.round_us.append(float(np.median(times)))
    contestant.frame_us += times
    for j in range(min(10, i)):  # the prediction alone, for the share of the scoring
        start = clock()
        contestant.opened.predict(joints[j % n])
        contestant.predict_us.append((clock() - start) / 1e3)


def time_all(found: list[Contestant], folder: Path, seconds: float) -> int:
    """Give every engine its turns; return the number of rounds."""
    joints, packed = frames(folder, POSES)
    rounds = max(3, int(seconds / (TURN_S * len(found))))
    for number in range(rounds):
        shift = number % len(found)
        for contestant in found[shift:] + found[:shift]:
            turn(contestant, joints, packed, TURN_S)
    return rounds


def numpy_score_us(found: list[Contestant], folder: Path) -> float:
    """Return the median time of the peers' scoring alone."""
    joints, packed = frames(folder, POSES)
    logits = [found[0].opened.predict(q).copy() for q in joints]
    score, times = NumpyScore(logits[0].shape), []
    for i in range(20 * len(logits)):
        start = time.perf_counter_ns()
        score(logits[i % len(logits)], packed[i % len(logits)])
        times.append((time.perf_counter_ns() - start) / 1e3)
    return float(np.median(times))


def fidelity(contestant: Contestant, run: Any) -> float:
    """Return the mean PSNR of the engine's predictions on the whole test split, dB."""
    from edgekin.quantization.calibrate import sigmoid
    from edgekin.training.metrics import psnr_db

    joints = run.test.joint_pos.astype(np.float32)
    logits = np.stack([contestant.opened.predict(np.ascontiguousarray(q[None])).copy() for q in joints])
    return float(psnr_db(sigmoid(logits), run.test.masks).mean())


def peak_rss_mb(engine: Engine, folder: Path, cpu: int) -> float:
    """Return the peak resident size of a fresh process that runs this engine alone, 10^6 bytes."""
    command = [sys.executable, __file__, "--alone", engine.key, "--work", str(folder), "--cpu", str(cpu)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env={
        **os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)})
    return float(done.stdout.split()[-1])


def alone(options: argparse.Namespace) -> None:
    """Open and run one engine in this process and print the peak resident size."""
    from edgekin.machine import peak_rss_mb as own_peak_mb

    engine = next(e for e in ENGINES if e.key == options.alone)
    folder = Path(options.work)
    joints, packed = frames(folder, POSES)
    opened = engine.open(folder, engine.precision)
    for i in range(ALONE_FRAMES):
        opened.frame(joints[i % len(joints)], packed[i % len(packed)])
    print(own_peak_mb())


# ---- the report


def percentile(values: list[float], p: float) -> float:
    return round(float(np.percentile(values, p)), 2)


def entry(c: Contestant, folder: Path, cpu: int) -> dict[str, Any]:
    """Return one engine's row."""
    us = c.frame_us
    return {"name": c.engine.name, "precision": c.engine.precision, "p50_us": percentile(us, 50),
            "p99_us": percentile(us, 99), "p99_9_us": percentile(us, 99.9) if len(us) >= P99_9_FRAMES else None,
            "max_us": round(max(us), 2), "n": len(us), "predict_p50_us": percentile(c.predict_us, 50),
            "peak_rss_mb": round(peak_rss_mb(c.engine, folder, cpu), 1),
            "bytes": (folder / c.engine.file).stat().st_size, "psnr_db": round(c.psnr_db, 4)}


def ratios(found: list[Contestant]) -> tuple[dict[str, float], dict[str, Any]]:
    """Return peer p50 / our p50, and for each its peer and its 10th and 90th percentile over the rounds."""
    p50 = {c.engine.key: float(np.median(c.frame_us)) for c in found}
    rounds = {c.engine.key: np.array(c.round_us) for c in found}
    peers = [c.engine for c in found if c.engine.name != OURS]
    best = min(peers, key=lambda e: p50[e.key]).key
    best_fp32 = min((e for e in peers if e.precision == "fp32"), key=lambda e: p50[e.key]).key
    int8, fp32 = f"{OURS}_int8", f"{OURS}_fp32"
    pairs = {"onnxruntime_fp32": ("onnxruntime_fp32", int8), "best_peer": (best, int8),
             "best_fp32_peer": (best_fp32, int8), "ours_fp32_to_best_fp32_peer": (best_fp32, fp32)}
    pairs = {name: pair for name, pair in pairs.items() if set(pair) <= set(p50)}
    spread = {}
    for name, (peer, ours) in pairs.items():
        each = rounds[peer] / rounds[ours]
        spread[name] = {"peer": peer, "ours": ours, "p10": round(float(np.percentile(each, 10)), 3),
                        "p90": round(float(np.percentile(each, 90)), 3)}
    return {name: round(p50[peer] / p50[ours], 3) for name, (peer, ours) in pairs.items()}, spread


def roofline(folder: Path, joints: list[Any], packed: list[Any]) -> dict[str, Any]:
    """Return this core's roofs, and per precision the share of them that our engine reaches, by layer and in all."""
    from edgekin.runtime.engine import Engine as Native
    from edgekin.runtime.profile import profile_engine
    from edgekin.runtime.roofline import DRAM_BYTES, L2_BYTES, peak_gmacs, read_gb_s

    layers = {}
    for precision in ("int8", "fp32"):
        with Native.open(folder / f"{precision}.ekw") as native:
            poses = np.concatenate(joints[:4])
            layers[precision] = profile_engine(native, poses, np.stack(packed[:4]), ticks=200).to_json()
    isa = layers["int8"]["isa"]
    reads = {name: read_gb_s(size) for name, size in (("l2", L2_BYTES), ("l3", 2 << 20), ("dram", DRAM_BYTES))}
    return {
        "roofline": {"isa": isa, "int8_gmacs": peak_gmacs(isa, "int8"), "fp32_gmacs": peak_gmacs(isa, "fp32"),
                     "read_gb_s": layers["int8"]["roofline"]["weights_gb_s"],
                     "read_gb_s_by_level": reads},
        "roofline_share": layers["int8"]["roofline_share"], "roofline_share_fp32": layers["fp32"]["roofline_share"],
        "profile": layers}


def open_all(folder: Path, failures: dict[str, str], only: list[str]) -> tuple[list[Contestant], dict[str, str]]:
    """Open every engine that can be opened; return them and {key: why not}."""
    found, missing = [], {}
    for engine in ENGINES:
        if only and engine.key not in only and engine.name != OURS:
            continue
        try:
            if engine.file in failures:
                raise RuntimeError(failures[engine.file])
            found.append(Contestant(engine, engine.open(folder, engine.precision)))
            found[-1].opened.predict(frames(folder, 1)[0][0])
        except Exception as error:  # a peer's failure is a finding, whatever its type
            missing[engine.key] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
            found = [c for c in found if c.engine is not engine]
    return found, missing


def versions() -> dict[str, str]:
    """Return the versions of the peers that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    known = {}
    for package in ("torch", "onnxruntime", "openvino", "ai-edge-litert", "numpy"):
        try:
            known[package] = version(package)
        except PackageNotFoundError:
            continue
    return known


def bench(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train or load, export, open, time and report."""
    from edgekin.machine import describe, revision
    from edgekin.models.reference import count

    run = trained(options)
    failures = export(run, folder)
    found, missing = open_all(folder, failures, options.only)
    for contestant in found:
        contestant.psnr_db = fidelity(contestant, run)
    rounds = time_all(found, folder, options.seconds)
    share, spread = ratios(found)
    parameters, macs = count(run.self_model.graph())
    return {
        "schema": SCHEMA, "revision": revision(), "seed": options.seed, "model": options.model,
        "robot": run.robot.name, "network": {"parameters": parameters, "macs": macs},
        "engines": [entry(c, folder, options.cpu) for c in found], "not_run": missing, "ratios": share,
        "ratio_spread": spread, "numpy_score_p50_us": round(numpy_score_us(found, folder), 2),
        **roofline(folder, *frames(folder, 4)),
        "settings": {"seconds": options.seconds, "rounds": rounds, "turn_s": TURN_S, "poses": POSES,
                     "cpu": options.cpu, "threads": 1}, "versions": versions(), "machine": describe()}


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{result['model']}: {result['network']['macs']:,} MACs, joint angles to residual, batch 1")
    for heading in ("engine", "p50 us", "p99", "p99.9", "max", "n", "RSS MB", "bytes", "PSNR dB"):
        table.add_column(heading, justify="left" if heading == "engine" else "right")
    for e in result["engines"]:
        rare = "-" if e["p99_9_us"] is None else f"{e['p99_9_us']:.0f}"
        table.add_row(f"{e['name']} {e['precision']}", f"{e['p50_us']:.1f}", f"{e['p99_us']:.0f}", rare,
                      f"{e['max_us']:.0f}", f"{e['n']:,}", f"{e['peak_rss_mb']:.0f}", f"{e['bytes']:,}",
                      f"{e['psnr_db']:.2f}")
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    for name, value in result["ratios"].items():
        s = result["ratio_spread"][name]
        console.print(f"{name}: {value:.2f} ({s['p10']:.2f}-{s['p90']:.2f} over the rounds; {s['peer']} / {s['ours']})")
    r = result["roofline"]
    console.print(f"roofline: INT8 {r['int8_gmacs']:.1f}, FP32 {r['fp32_gmacs']:.1f} GMAC/s, {r['read_gb_s']:.1f} GB/s"
                  f"; reached {result['roofline_share']:.0%} (FP32 {result['roofline_share_fp32']:.0%}); "
                  f"numpy scoring {result['numpy_score_p50_us']:.0f} us")
    for key, why in result["not_run"].items():
        console.print(f"not run: {key}: {why}")


def main() -> None:
    """Parse the arguments, pin, and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(SIZES), default="neurokin")
    parser.add_argument("--robot", default="arm4", help="URDF, name or RobotSpec YAML")
    parser.add_argument("--run", help="a run's folder or name, instead of training one")
    parser.add_argument("--seconds-train", type=float, default=60.0)
    parser.add_argument("--seconds", type=float, default=60.0, help="of timing, all engines together")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME_PRECISION", help="these peers (and ours)")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", default="", help=argparse.SUPPRESS)
    parser.add_argument("--alone", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    os.sched_setaffinity(0, {options.cpu})
    if options.alone:
        alone(options)
        return
    with tempfile.TemporaryDirectory(prefix="edgekin-engines-") as work:
        options.work = work
        result = bench(options, Path(work))
    show(result)
    if options.json:
        from edgekin.output import write_json

        write_json(options.json, result)


if __name__ == "__main__":
    main()
