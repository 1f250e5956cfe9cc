"""Collecting data: drive the arm, measure its joints, render what the cameras see."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import ConfigError
from edgekin.robot import RobotSpec, robot_sha256
from edgekin.robot.spec import Camera
from edgekin.robot.views import cameras_around
from edgekin.sim.dataset import Dataset, check_dataset
from edgekin.sim.excitation import coverage, lorenz, sobol
from edgekin.sim.renderer import Renderer
from edgekin.sim.views import seen_from, shared_out
from edgekin.sim.world import simulate

EXCITATIONS = ("lorenz", "sobol")
#: Samples that are simulated as one piece. Fixed, so that the data do not depend on how many workers share them.
CHUNK = 250
#: Physics steps of 1/240 s between samples: a Lorenz trajectory at dt 0.01 then asks for at most a few rad/s.
STEPS = 20


@dataclass(frozen=True)
class CollectOptions:
    """What to collect."""

    spec: RobotSpec
    samples: int = 2000
    excitation: str = "lorenz"  # lorenz | sobol
    seed: int = 0
    workers: int = 0  # processes; 0: one per core
    encoder_noise_rad: float = 0.0  # standard deviation added to the measured angles
    mask_noise: float = 0.0  # probability that a pixel is flipped
    depth: bool = False  # keep metric depth too
    cameras: int = 0  # see each sample by one of so many cameras around the robot; 0: by its own
    arc_deg: float = 80.0  # of the arc that they stand on


def describe(spec: RobotSpec, joint_pos: NDArray[np.float64], seed: int, excitation: str,
             **more: Any) -> dict[str, Any]:
    """Return the metadata of a dataset of this robot."""
    shares = coverage(joint_pos, spec.limits)
    return {"robot": spec.path, "robot_sha256": robot_sha256(spec), "joints": [j.name for j in spec.actuated],
            "seed": seed, "excitation": excitation, "convention": spec.convention,
            "units": {"joint_pos": "rad", "depth": "m"},
            "coverage": {j.name: round(float(c), 4) for j, c in zip(spec.actuated, shares, strict=True)}, **more}


def uniform_dataset(spec: RobotSpec, n: int, seed: int, depth: bool = False) -> Dataset:
    """Return n scrambled-Sobol poses over the full limits, rendered where they are: no dynamics, no noise.

    Args:
        spec: the robot and its cameras.
        n: samples.
        seed: of the poses.
        depth: keep metric depth, too.
    """
    q = sobol(n, spec.limits, seed)
    with Renderer(spec) as renderer:
        packed = renderer.masks(q)
        distances = renderer.depth(q) if depth else None
    data = Dataset(q, packed, spec.cameras[0].width, describe(spec, q, seed, "sobol", physics=False), distances)
    check_dataset(data, "the rendered data")
    return data


def views_dataset(spec: RobotSpec, cameras: tuple[Camera, ...], n: int, seed: int) -> Dataset:
    """Return n scrambled-Sobol poses over the full limits, each seen by one of the cameras."""
    q, view = sobol(n, spec.limits, seed), shared_out(n, len(cameras), seed)
    meta = describe(spec, q, seed, "sobol", physics=False)
    data = Dataset(q, seen_from(spec, cameras, q, view), cameras[0].width, meta, cameras=cameras, view=view)
    check_dataset(data, "the rendered data")
    return data


def _targets(options: CollectOptions) -> NDArray[np.float64]:
    limits = options.spec.limits
    if options.excitation == "sobol":
        return sobol(options.samples, limits, options.seed)
    return lorenz(options.samples, len(limits), limits, options.seed)


_Piece = tuple[NDArray[np.float64], NDArray[np.uint8], "NDArray[np.float32] | None"]


class _Collector:
    """What a process needs to make chunks, opened once: a scene of large meshes takes longer to build than a chunk."""

    def __init__(self, options: CollectOptions) -> None:
        self.options, self.renderer = options, Renderer(options.spec)
        self.cameras, self.view = _many(options)

    def chunk(self, number: int, targets: NDArray[np.float64], start: NDArray[np.float64]) -> tuple[int, _Piece]:
        """Physics, camera, noise; everything random follows from the seed and the chunk's number."""
        options = self.options
        true = simulate(options.spec, targets, STEPS, start, jump=options.excitation == "sobol")
        if self.view is None:
            packed = self.renderer.masks(true)
        else:
            first = number * CHUNK
            packed = seen_from(options.spec, self.cameras, true, self.view[first : first + len(true)])
        depth = self.renderer.depth(true) if options.depth else None
        rng = np.random.default_rng([options.seed, number])
        measured = true + options.encoder_noise_rad * rng.standard_normal(true.shape)
        if options.mask_noise > 0:
            flips = rng.random((*packed.shape[:3], options.spec.cameras[0].width)) < options.mask_noise
            packed = packed ^ np.packbits(flips, axis=-1)
        return number, (measured, packed, depth)


def _many(options: CollectOptions) -> tuple[tuple[Camera, ...], NDArray[np.int64] | None]:
    """The cameras around the robot and the one of each sample, where many are asked for."""
    if not options.cameras:
        return (), None
    cameras = cameras_around(options.spec, options.cameras, options.arc_deg)
    return cameras, shared_out(options.samples, len(cameras), options.seed)


_collector: _Collector  # of a worker process, set once when it starts


def _start_worker(options: CollectOptions) -> None:
    global _collector
    _collector = _Collector(options)


def _work(number: int, targets: NDArray[np.float64], start: NDArray[np.float64]) -> tuple[int, _Piece]:
    return _collector.chunk(number, targets, start)


def _pieces(options: CollectOptions, targets: NDArray[np.float64]) -> Iterator[tuple[int, _Piece]]:
    jobs = [(first // CHUNK, targets[first : first + CHUNK], targets[max(first - 1, 0)])
            for first in range(0, len(targets), CHUNK)]
    workers = min(options.workers or os.cpu_count() or 1, len(jobs))
    if workers == 1:
        collector = _Collector(options)
        yield from (collector.chunk(*job) for job in jobs)
        return
    # spawn: a fork of a process with threads (torch, BLAS) may hang.
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (options,)) as pool:
        try:
            for future in as_completed([pool.submit(_work, *job) for job in jobs]):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _check(options: CollectOptions) -> None:
    if options.excitation not in EXCITATIONS:
        raise ConfigError(f"excitation {options.excitation!r}, expected {' or '.join(EXCITATIONS)}",
                          "Choose one of them")
    if options.samples < 2:
        raise ConfigError(f"{options.samples} samples, expected at least 2", "Ask for more with --samples")
    if options.cameras and (len(options.spec.cameras) != 1 or options.depth):
        what = "depth" if options.depth else f"a robot that has {len(options.spec.cameras)} cameras of its own"
        raise ConfigError(f"{options.cameras} cameras around the robot do not go with {what}", "Leave one out")
    if not 0 <= options.mask_noise < 0.5 or not 0 <= options.encoder_noise_rad < 1:
        raise ConfigError(f"mask noise {options.mask_noise} and encoder noise {options.encoder_noise_rad} rad, "
                          "expected 0 to 0.5 and 0 to 1", "Choose smaller ones")


def collect(options: CollectOptions, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """Simulate an arm and render it; the same options give the same data whatever the number of workers.

    Args:
        options: what to collect.
        progress: called with (samples done, samples in all).

    Raises:
        ConfigError: options out of range.
        DataError: the cameras never see the robot.
        RobotError: PyBullet cannot simulate it.
    """
    _check(options)
    targets = _targets(options)
    pieces: dict[int, _Piece] = {}
    done = 0
    for number, piece in _pieces(options, targets):
        pieces[number] = piece
        done += len(piece[0])
        if progress is not None:
            progress(done, options.samples)
    ordered = [pieces[n] for n in sorted(pieces)]
    joint_pos = np.concatenate([p[0] for p in ordered])
    spec = options.spec
    meta = describe(spec, joint_pos, options.seed, options.excitation, physics=True, steps_per_sample=STEPS,
                    encoder_noise_rad=options.encoder_noise_rad, mask_noise=options.mask_noise)
    depth = np.concatenate([p[2] for p in ordered if p[2] is not None]) if options.depth else None
    data = Dataset(joint_pos, np.concatenate([p[1] for p in ordered]), spec.cameras[0].width, meta, depth,
                   *_many(options))
    check_dataset(data, "the collected data")
    return data
