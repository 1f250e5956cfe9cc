"""Fit the closed-form costs of `edgekin prune` to counts of the emulator: edgekin/data/mcu_costs.json.

    python benchmarks/fit_mcu_costs.py m7 m4          # cores not named keep what is written there
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from edgekin.compile.mcu import build
from edgekin.compile.mcu.cores import CORES, Core, core_of
from edgekin.compile.mcu.lower import lower
from edgekin.compile.mcu.model import open_model
from edgekin.compile.mcu.program import place
from edgekin.compile.weights import write_weights
from edgekin.evolution.bodies import Bodies
from edgekin.evolution.body_costs import CODE
from edgekin.evolution.body_costs import features as body_features
from edgekin.evolution.body_costs import table_bytes as body_tables
from edgekin.evolution.costs import Figures, fitted, to_json
from edgekin.evolution.decoder_costs import code, features, table_bytes
from edgekin.evolution.decoders import Decoders
from edgekin.evolution.emulated import POSES, measured
from edgekin.evolution.fitting import Task
from edgekin.evolution.genome import Innovations
from edgekin.evolution.problem import Costs, Problem
from edgekin.machine import revision
from edgekin.models import build_model
from edgekin.models.registry import PictureShape
from edgekin.quantization.qgraph import QuantGraph
from edgekin.robot import load_robot
from edgekin.sim.collect import uniform_dataset

DATA = Path(__file__).resolve().parents[1] / "edgekin" / "data" / "mcu_costs.json"
#: Pictures of several sizes: else what a pixel costs could not be told from what a layer does.
SIDES, SEED = (24, 40, 64, 100), 0


def problem(side: int) -> Problem:
    """Return arm4 in pictures of side x side px, with a body model of random weights."""
    robot = load_robot("arm4")
    camera = robot.cameras[0]
    scale = side / camera.width
    robot = replace(robot, cameras=(replace(camera, width=side, height=side, fx=camera.fx * scale, fy=camera.fy * scale,
                                            cx=side / 2, cy=side / 2),))
    body = build_model("k3dgs", "s", PictureShape.of(robot), SEED, robot).graph()
    frames = uniform_dataset(robot, 128, SEED)
    return Problem("decoder", robot, body, frames, frames, "m7", Costs(1, 1, 1))


def decoders(posed: list[Problem], n: int) -> list[tuple[QuantGraph, Problem]]:
    """Return n random decoders and seeds in integers, of pictures of all sizes in turn."""
    rng, innovations, out = np.random.default_rng(SEED), Innovations(), []
    for i in range(n):
        way = Decoders(posed[i % len(posed)])
        genome = (way.space.minimal if i % 3 == 0 else way.space.random)(rng, innovations)
        out.append((way.quantized(way.model(genome, way.first(Task(way.problem, genome, 0, i))))[0], way.problem))
    return out


def bodies(posed: list[Problem], n: int) -> list[tuple[bytes, Problem]]:
    """Return n weight files of random body models, likewise."""
    rng, innovations, out = np.random.default_rng(SEED), Innovations(), []
    for i in range(n):
        way = Bodies(posed[i % len(posed)])
        genome = way.space.random(rng, innovations)
        out.append((way.file(way.model(genome, way.first(Task(way.problem, genome, 0, i)))), way.problem))
    return out


def figures(core: Core, graphs: list[tuple[QuantGraph, Problem]], files: list[tuple[bytes, Problem]]) -> Figures:
    """Return the figures of a core."""
    programs, models = [lower(graph, core.layout) for graph, _ in graphs], [open_model(file) for file, _ in files]
    seen = [measured(write_weights(graph), core.name, posed.validation) for graph, posed in graphs]
    seen += [measured(file, core.name, posed.validation) for file, posed in files]
    assert not any(m.mismatches for m in seen)
    rows = [features(graph, p, core.layout, posed.validation.masks[0].size)
            for (graph, posed), p in zip(graphs, programs, strict=True)]
    rows += [body_features(m, posed.validation.joint_pos[:POSES]) for m, (_, posed) in zip(models, files, strict=True)]
    instructions, error = fitted(rows, [m.costs.instructions for m in seen])
    tables = [*map(table_bytes, programs), *map(body_tables, models)]
    codes = [*map(code, programs), *([CODE] * len(models))]
    rest = np.array([m.costs.flash_bytes - t for m, t in zip(seen, tables, strict=True)])
    names = sorted({name for row in codes for name in row})
    matrix = np.array([[row.get(name, 0.0) for name in names] for row in codes])
    size, _ = nnls(matrix, rest)
    off = float(np.abs(matrix @ size - rest).max())
    print(f"{core.name}: flash within {off:.0f} bytes", flush=True)
    ram = max(m.costs.ram_bytes - place(p.steps)[1] for m, p in zip(seen, programs, strict=False))
    return Figures(build.version(core), instructions, dict(zip(names, size.tolist(), strict=True)), ram, error, off)


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("core", nargs="+", choices=list(CORES))
    parser.add_argument("--models", type=int, default=72)
    parser.add_argument("--bodies", type=int, default=24)
    args = parser.parse_args()
    posed = [problem(side) for side in SIDES]
    graphs, files = decoders(posed, args.models), bodies(posed, args.bodies)
    cores, made_at = {}, revision()  # before the file changes
    if DATA.exists():
        cores = {name: Figures(**entry) for name, entry in json.loads(DATA.read_text())["cores"].items()}
    for name in args.core:
        cores[name] = figures(core_of(name), graphs, files)
        print(f"{name}: instructions within {cores[name].error:.1%} of {len(graphs) + len(files)} counts",
              flush=True)
        DATA.write_text(json.dumps(to_json(cores, made_at, SEED), indent=1) + "\n")


if __name__ == "__main__":
    main()
