"""Networks on this machine's NVIDIA GPU at batch 1: our kernels beside torch, ONNX Runtime and TensorRT, and our loop.

    python benchmarks/bench_gpu.py [--seconds 30] [--loop-seconds 10] [--json benchmarks/results/<gpu>/gpu.json]

Needs torch, nvcc, a C compiler and cffi; builds the extension where it is missing. Weights are random: no engine here
looks at them. A frame is measured end to end, joint angles and mask in host memory to scores in host memory. In each
round every engine has a turn, in an order that rotates; a turn's first frames are not counted. Ours is timed twice:
called from Python like the others, and in C, as the loop runs it. The loop then runs at 1 and 10 kHz on frames that
another process publishes. What cannot run is named with the reason.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
SCHEMA = "edgekin.gpu/1"
POSES, SIDE, JOINTS = 64, 100, 7
TURN_S = 0.1
P99_9_FRAMES = 10_000  # fewer do not show it
HZ = (1000.0, 10_000.0)
#: Name -> model and size; "tiny" is for the tests, whose GPU is a processor.
NETWORKS = {"neurokin": ("neurokin", "m"), "published": ("neurokin", "published"),
            "resneurokin-d": ("resneurokin-d", "m"), "tiny": ("neurokin", "16-2-4")}


@dataclass
class Contestant:
    """An opened engine and what was measured of it."""

    peer: Any
    opened: Any
    frame_us: list[float] = field(default_factory=list)


def ensure_extension() -> None:
    """Build edgekin._ek where it is not there; ends with one line where that is not possible."""
    try:
        import edgekin._ek  # noqa: F401 - whether it is there
    except ImportError as missing:
        if "_cffi_backend" in str(missing):
            raise SystemExit("bench_gpu: cffi is missing. Run: pip install cffi") from missing
        done = subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=ROOT, text=True,
                              capture_output=True, check=False)
        if done.returncode:
            last = (done.stderr.strip() or "it says nothing").splitlines()[-1]
            raise SystemExit(f"bench_gpu: the C extension cannot be built: {last}. "
                             "Install gcc, and run: pip install cffi setuptools") from missing


def network(name: str, seed: int) -> Any:
    """Build a decoder with random weights, calibrated on its poses."""
    from gpu_peers import Network

    from edgekin.compile.native import predict_int8
    from edgekin.compile.onnx_export import OnnxOptions, export_onnx
    from edgekin.compile.weights import write_weights
    from edgekin.models.registry import PictureShape, build_model
    from edgekin.quantization.calibrate import CalibrationSource, Calibrator
    from edgekin.quantization.profile import CalibrationProfile
    from edgekin.quantization.qgraph import quantize_graph

    model = build_model(*NETWORKS[name], PictureShape(JOINTS, 1, SIDE, SIDE), seed)
    graph, rng = model.graph(), np.random.default_rng(seed)
    poses = rng.uniform(-1.5, 1.5, (POSES, JOINTS))
    source = CalibrationSource(CalibrationProfile(), seed, "uniform poses")
    scales = Calibrator(graph, poses, source, predict_int8).by_method("minmax").scales
    fp32 = write_weights(graph)
    blobs = {"int8": write_weights(quantize_graph(graph, scales)), "fp32": fp32, "fp16": fp32}
    masks = rng.random((POSES, 1, SIDE, SIDE)) < 0.2

    @cache
    def onnx(precision: str) -> bytes:
        kind, _, strong = precision.partition("-")
        half: Any = {"body": "fp16", "opset": 19} if strong and kind != "fp32" else {}
        return export_onnx(graph, OnnxOptions(scales=scales if kind == "int8" else None, **half))

    return Network(name, model.module, graph, blobs, poses.astype(np.float32), np.packbits(masks, axis=-1), onnx)


def open_all(net: Any, only: list[str]) -> tuple[list[Contestant], dict[str, str]]:
    """Open every engine that can be opened; return them and {key: why not}."""
    from gpu_peers import OURS, PEERS

    found, missing = [], {}
    for peer in PEERS:
        if only and peer.key not in only and peer.name != OURS:
            continue
        try:
            opened = peer.open(net, peer.precision)
            opened.frame(0)
            found.append(Contestant(peer, opened))
        except Exception as error:  # a peer's failure is a finding, whatever its type
            missing[peer.key] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
            if peer.name == OURS:
                raise SystemExit(f"bench_gpu: {error}") from error
    return found, missing


def turn(one: Contestant, seconds: float, warm: int) -> None:
    """Run frames for so many seconds and record them."""
    frame, clock = one.opened.frame, time.perf_counter_ns
    for i in range(warm):
        frame(i % POSES)
    stop, i = clock() + int(seconds * 1e9), 0
    while i == 0 or clock() < stop:
        start = clock()
        frame(i % POSES)
        one.frame_us.append((clock() - start) / 1e3)
        i += 1


def time_all(found: list[Contestant], seconds: float, warm: int) -> int:
    """Give every engine its turns; return the number of rounds."""
    rounds = max(1, int(seconds / (TURN_S * len(found))))
    for number in range(rounds):
        shift = number % len(found)
        for one in found[shift:] + found[:shift]:
            turn(one, TURN_S, warm)
    return rounds


def summary(values: Any) -> dict[str, Any]:
    """Return the percentiles of times in us."""
    at = {name: round(float(np.percentile(values, p)), 2) for name, p in (("p50", 50), ("p99", 99))}
    rare = round(float(np.percentile(values, 99.9)), 2) if len(values) >= P99_9_FRAMES else None
    return {**at, "p99_9": rare, "max": round(float(np.max(values)), 2), "n": len(values)}


def in_c(one: Contestant, net: Any, ticks: int) -> dict[str, Any] | None:
    """Return the times of our frames called from C, without Python between them; None for a peer."""
    from edgekin.runtime.profile import tick_us

    if one.opened.native is None:
        return None
    poses = min(POSES, ticks)
    every = [tick_us(one.opened.native, net.poses[i], net.packed[i], ticks // poses) for i in range(poses)]
    return summary(np.concatenate(every))


def parity(one: Contestant, net: Any, n: int = 8) -> dict[str, Any]:
    """Hold the logits against the CPU: INT8 bit for bit, FP16 against its twin, floats against numpy."""
    from gpu_peers import OURS

    from edgekin.compile.half import maps_fp16
    from edgekin.models.reference import forward
    from edgekin.runtime.engine import Engine

    got = np.stack([np.array(one.opened.logits(i)) for i in range(n)])
    if one.peer.precision == "int8" and one.peer.name == OURS:
        with Engine(net.blobs["int8"]) as cpu:
            return {"against": "native int8", "same_bits": bool(np.array_equal(got, cpu.predict(net.poses[:n])))}
    ours_half = one.peer.precision == "fp16" and one.peer.name == OURS
    q = net.poses[:n]
    want = maps_fp16(net.graph, q)[:, : net.graph.n_views] if ours_half else forward(net.graph, q)
    error = float(np.abs(got.reshape(want.shape) - want).max() / max(1.0, float(np.abs(want).max())))
    return {"against": "fp16 twin" if ours_half else "numpy fp32", "largest_error": error}


def publish(path: str, poses: Any, packed: Any, hz: float, stop: Any) -> None:
    """Publish frames at a rate, awake all the time: another process than the loop's."""
    from edgekin.runtime.ring import RingWriter

    views, height, columns = packed.shape[1:]
    with RingWriter(Path(path), poses.shape[1], (views, height, min(SIDE, 8 * columns))) as writer:
        due, period, i = time.monotonic_ns(), int(1e9 / hz), 0
        while not stop.is_set():
            writer.publish(poses[i % len(poses)], packed[i % len(packed)])
            i, due = i + 1, due + period
            while time.monotonic_ns() < due:
                pass


def loop(one: Contestant, net: Any, hz: float, seconds: float) -> dict[str, Any]:
    """Run the real-time loop on the GPU at a rate; return its report."""
    from edgekin.runtime.detector import DetectorConfig, NativeDetector
    from edgekin.runtime.loop import Loop, LoopConfig, auto_spin_us
    from edgekin.runtime.ring import RingReader
    from edgekin.sim.alongside import free_ring_path

    config = DetectorConfig.from_json({
        "centroids": [[0.0] * JOINTS], "mean": [0.7], "std": [1e3], "k": 1.0, "h": 1e6, "z_clip": 6.0,
        "joint_min_rad": [-9.0] * JOINTS, "joint_max_rad": [9.0] * JOINTS, "bad_frames_to_unknown": 3,
        "stale_ns": 1_000_000_000, "frozen_frames": 0, "frozen_motion_rad": 0.1})
    context = multiprocessing.get_context("spawn")
    stop, path = context.Event(), free_ring_path()
    writer = context.Process(target=publish, args=(str(path), net.poses, net.packed, hz, stop), daemon=True)
    writer.start()
    try:
        for _ in range(600):
            if Path(path).exists() and Path(path).stat().st_size:
                break
            time.sleep(0.05)
        settings = LoopConfig(hz=hz, duration_s=seconds, spin_us=auto_spin_us(hz), cpu=max(os.sched_getaffinity(0)),
                              warmup_ticks=int(0.5 * hz), frame_hz=hz)
        with RingReader(path) as reader, Loop(one.opened.native, reader, NativeDetector(config), settings) as running:
            running.start()
            running.join()
            report = running.report()
    finally:
        stop.set()
        writer.join(10)
    latency = report.latency
    return {"hz": hz, "seconds": round(latency.duration_s, 3), "frames": latency.frames,
            "skipped": latency.frames_skipped, "exec_us": latency.exec.to_json(),
            "frame_to_verdict_us": latency.frame_to_verdict.to_json(), "misses": asdict(latency.misses),
            "permissions": report.permissions}


def ratios(engines: list[dict[str, Any]]) -> dict[str, float]:
    """Return p50 of each peer over that of our fastest, both called from Python."""
    from gpu_peers import OURS

    best = min(e["frame_us"]["p50"] for e in engines if e["name"] == OURS)
    return {f"{e['name']}_{e['precision']}": round(e["frame_us"]["p50"] / best, 2)
            for e in engines if e["name"] != OURS}


def bench_network(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about one network."""
    from gpu_peers import OURS

    from edgekin.models.reference import count

    net = network(name, options.seed)
    found, missing = open_all(net, options.only)
    rounds = time_all(found, options.seconds, options.warm)
    engines, loops = [], []
    for one in found:
        engines.append({"name": one.peer.name, "precision": one.peer.precision, "frame_us": summary(one.frame_us),
                        "in_c_us": in_c(one, net, options.ticks), "parity": parity(one, net)})
        if one.opened.native is not None:
            engines[-1]["gpu"] = asdict(one.opened.native.cuda)
        if one.peer.name == OURS and one.peer.precision in ("int8", "fp16") and options.loop_seconds > 0:
            loops += [{"precision": one.peer.precision, **loop(one, net, hz, options.loop_seconds)} for hz in HZ]
    for one in found:
        one.opened.close()
    parameters, macs = count(net.graph)
    return {"name": name, "parameters": parameters, "macs": macs, "rounds": rounds, "engines": engines, "loops": loops,
            "ratios": ratios(engines), "not_run": missing}


def show(result: dict[str, Any]) -> None:
    """Print a table for each network."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 130)
    for net in result["networks"]:
        table = Table(title=f"{net['name']} on {result['gpu']['name']}: {net['macs']:,} MACs, joint angles to scores")
        for heading in ("engine", "p50 us", "p99", "p99.9", "max", "n", "in C p50", "p99", "p99.9", "parity"):
            table.add_column(heading, justify="left" if heading == "engine" else "right")
        for e in net["engines"]:
            cells = [f"{e['name']} {e['precision']}"]
            for times in (e["frame_us"], e["in_c_us"]):
                keys = ("p50", "p99", "p99_9") + (("max", "n") if times is e["frame_us"] else ())
                cells += ["-" if times is None or times[key] is None else f"{times[key]:,}" for key in keys]
            p = e["parity"]
            table.add_row(*cells, f"{p['same_bits']}" if "same_bits" in p else f"{p['largest_error']:.1e}")
        console.print(table)
        for run in net["loops"]:
            console.print(f"loop {run['precision']} at {run['hz']:g} Hz, {run['seconds']} s: frame to verdict p50 "
                          f"{run['frame_to_verdict_us']['p50']} us, p99 {run['frame_to_verdict_us']['p99']}; "
                          f"{run['frames']} frames, misses {run['misses']}")
        console.print(f"peers' p50 over our fastest: {net['ratios']}")
        for key, why in net["not_run"].items():
            console.print(f"not run: {key}: {why}")


def main() -> None:
    """Parse the arguments, look for the GPU, and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=["neurokin", "published"], choices=sorted(NETWORKS))
    parser.add_argument("--seconds", type=float, default=30.0, help="of timing for each network, all engines together")
    parser.add_argument("--ticks", type=int, default=20_000, help="of our engine called from C")
    parser.add_argument("--loop-seconds", type=float, default=10.0, help="of the loop at each rate; 0: none")
    parser.add_argument("--warm", type=int, default=10, help="frames at the start of a turn that are not counted")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME_PRECISION", help="these peers (and ours)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--force", action="store_true", help="replace the JSON")
    options = parser.parse_args()
    ensure_extension()
    from edgekin.errors import EdgekinError
    from edgekin.machine import describe, revision
    from edgekin.output import check_output, write_json
    from edgekin.runtime.cuda import probe

    try:
        check_output(options.json, options.force)
        gpu = probe()
    except EdgekinError as error:
        raise SystemExit(f"bench_gpu: {error}") from error
    result = {"schema": SCHEMA, "revision": revision(), "seed": options.seed, "machine": describe(),
              "gpu": {"name": gpu.name, "sm": gpu.sm, "multiprocessors": gpu.n_sm, "driver_cuda": gpu.driver},
              "settings": {"seconds": options.seconds, "ticks": options.ticks, "loop_seconds": options.loop_seconds,
                           "turn_s": TURN_S, "warm": options.warm, "poses": POSES},
              "networks": [bench_network(name, options) for name in options.networks]}
    show(result)
    if options.json:
        write_json(options.json, result)


if __name__ == "__main__":
    main()
