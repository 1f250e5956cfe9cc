"""Instructions of single layers on emulated microcontrollers, beside those of CMSIS-NN on the same layers.

    python benchmarks/bench_mcu.py --json benchmarks/results/mcu/layers.json

Every network's outputs are held against the integer reference first. Peers: CMSIS-NN (main, 2026, Apache-2.0), the same
compiler and flags, counted by the same plugin; its figures are recorded here because its sources are not part of this
project.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from pathlib import Path

import numpy as np

from edgekin.compile.mcu import build, emulate, reference
from edgekin.compile.mcu.cores import CORES, Core
from edgekin.compile.mcu.lower import lower
from edgekin.compile.mcu.subjects import of_graphs
from edgekin.machine import revision
from edgekin.models.graph import Graph, Layer
from edgekin.models.reference import activations
from edgekin.quantization.qgraph import QuantGraph, quantize_graph

#: Instructions of CMSIS-NN: layer -> core -> figure.
CMSIS_NN = {
    "linear 128 -> 256": {"m3": 119_158, "m4": 74_222, "m7": 74_289, "m33": 74_215, "m55": 18_753},
    "convt 8x8x16 -> 16x16x8": {"m4": 512_484, "m55": 213_995},
    "convt 8x8x32 -> 16x16x8": {"m4": 2_282_387},
    "autoencoder": {"m4": 579_471, "m7": 579_892, "m55": 147_279},
}


def _weighted(rng: np.random.Generator, kind: str, name: str, shape: tuple[int, ...], **attrs: int) -> Layer:
    out = shape[1 if kind == "convt" else 0]
    weight = rng.normal(0, (2 * out / np.prod(shape)) ** 0.5, shape).astype(np.float32)
    return Layer(kind, name, dict(attrs), weight, rng.normal(0, 0.1, out).astype(np.float32))


def _network(rng: np.random.Generator, widths: list[int], tail: list[Layer], size: tuple[int, int, int]) -> QuantGraph:
    """Sines of half as many joints as the first width, a layer that reads them, linear layers, and a tail."""
    layers = [Layer("sincos", "in"), _weighted(rng, "linear", "first", (widths[0], 8), relu=1)]
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        layers.append(_weighted(rng, "linear", f"layer{i}", (b, a), relu=1))
    graph = Graph(4, *size, (*layers, *tail))
    q = rng.uniform(-2, 2, (64, 4)).astype(np.float32)
    scales = {name: max(float(np.abs(x).max()), 1e-3) / 127 for name, x in activations(graph, q)}
    return quantize_graph(graph, scales)


def _flat(n: int) -> Layer:
    return Layer("reshape", "picture", {"channels": 1, "height": 1, "width": n})


def networks() -> dict[str, tuple[QuantGraph, list[str]]]:
    """Name -> network, and the layers of it that are counted."""
    rng = np.random.default_rng(0)
    found = {"linear 128 -> 256": (_network(rng, [128, 256], [_flat(256)], (1, 1, 256)), ["layer0"])}
    for channels in (16, 32):
        shape = {"channels": channels, "height": 8, "width": 8}
        tail = [Layer("reshape", "map", shape), _weighted(rng, "convt", "convt", (channels, 8, 4, 4), stride=2, pad=1,
                                                          relu=1)]
        found[f"convt 8x8x{channels} -> 16x16x8"] = (_network(rng, [64 * channels], tail, (8, 16, 16)), ["convt"])
    widths = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640]
    found["autoencoder"] = (_network(rng, widths, [_flat(640)], (1, 1, 640)),
                            [f"layer{i}" for i in range(len(widths) - 1)])
    return found


def count(graph: QuantGraph, core: Core, folder: Path) -> tuple[dict[str, int], int]:
    """Return instructions by layer, and how many outputs are not the reference's."""
    source, subjects = of_graphs([graph], core.layout, marked=True)
    build.write(folder, {"network.c": source})
    units = reference.to_units(np.random.default_rng(1).uniform(-2, 2, (1, graph.n_joints)))
    (folder / "in.bin").write_bytes(emulate.inputs([units], [np.zeros((1, 0), np.uint8)]))
    image = build.build(core, folder, ["network.c"], "bench.c", "bench.elf")
    marks, raw = emulate.marks(core, image, emulate.plugin(folder))
    answer = emulate.parsed(raw, subjects, 1, None, core.tick_ns).answers[0]
    layers = [step.layer for step in lower(graph, core.layout).steps]
    steps = dict(zip(layers, np.diff(marks[: len(layers) + 1]), strict=True))
    wrong = int((answer.logits != reference.predict(graph, units).reshape(1, -1)).sum())
    return {name: int(n) for name, n in steps.items()}, wrong


def main() -> None:
    """Count, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--core", nargs="*", default=list(CORES), choices=list(CORES))
    args = parser.parse_args()
    rows = []
    for name, (graph, layers) in networks().items():
        for core in (CORES[c] for c in args.core):
            with tempfile.TemporaryDirectory() as folder:
                steps, wrong = count(graph, core, Path(folder))
            ours, peer = sum(steps[layer] for layer in layers), CMSIS_NN[name].get(core.name)
            rows.append({"layer": name, "core": core.name, "instructions": ours, "cmsis_nn": peer, "mismatches": wrong})
            ratio = f"{peer:>9,} {ours / peer:6.3f}" if peer else f"{'-':>9}"
            print(f"{name:26} {core.name:5} {ours:>9,} {ratio}  mismatches {wrong}", flush=True)
    if args.json:
        content = {"schema": "edgekin.mcu_layers/1", "revision": revision(), "seed": 0,
                   "compilers": {c: build.version(CORES[c]) for c in args.core}, "flags": list(build.FLAGS),
                   "rows": rows}
        args.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
