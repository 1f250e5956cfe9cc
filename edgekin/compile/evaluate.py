"""Score a run or a bundle on a dataset, in the same measure as training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekin.bundle import MANIFEST, Bundle, load_bundle
from edgekin.errors import ConfigError, DataError, RuntimeFault
from edgekin.machine import describe, revision
from edgekin.opening import open_bundle
from edgekin.quantization.calibrate import sigmoid
from edgekin.sim.dataset import Dataset, check_fits, load_dataset
from edgekin.sim.views import from_own_camera
from edgekin.training.floors import floors
from edgekin.training.metrics import Score, score
from edgekin.training.run import RUN, TEST, Run, latest_run, load_run

if TYPE_CHECKING:
    from edgekin.runtime.engine import Engine

SCHEMA = "edgekin.evaluate/1"


@dataclass(frozen=True)
class Evaluation:
    """The score of one run or bundle."""

    subject: Path  # the run or bundle
    kind: str  # run | bundle
    precision: str  # fp32 | fp16 | int8
    engine: str  # what computed it: torch, an instruction set, cuda, tensorrt or tensorrt-rtx
    data: str  # the dataset's path
    n: int  # samples
    score: Score
    floors: dict[str, Score]  # empty where the training samples are not at hand

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, schema edgekin.evaluate/1."""
        return {"schema": SCHEMA, "revision": revision(), "seed": None, "subject": str(self.subject), "kind": self.kind,
                "precision": self.precision, "engine": self.engine, "data": self.data, "n_test": self.n,
                **self.score.to_json(),
                "floors": {name: floor.to_json() for name, floor in self.floors.items()}, "machine": describe()}


def evaluate(subject: Path | None = None, data: Path | None = None) -> Evaluation:
    """Score a run or a bundle.

    Args:
        subject: a bundle's folder, a run's folder or name; None for the latest run.
        data: a dataset; None for the run's own test split.

    Raises:
        ConfigError, BundleError: neither a run nor a bundle, or one that cannot be used.
        DataError: the dataset is missing, damaged, or of another robot.
    """
    subject = subject if subject is not None else latest_run()
    if (subject / MANIFEST).is_file():
        return _bundle(subject, data)
    if subject.is_dir() and not (subject / RUN).is_file():
        raise ConfigError(f"{subject} is neither a run ({RUN}) nor a bundle ({MANIFEST})",
                          "Run: edgekin train, edgekin compile --int8")
    run = load_run(subject)
    samples, where = _samples(run, data, run.path)
    check_fits(samples, run.robot, where)
    inputs = samples.inputs if samples.view is not None else run.own_inputs(samples.joint_pos)
    prediction = run.self_model.probabilities(inputs)
    return Evaluation(run.path, "run", "fp32", "torch", where, len(samples), score(prediction, samples.masks),
                      floors(run.train if samples.view is not None else from_own_camera(run.robot, run.train), samples))


def _samples(run: Run | None, data: Path | None, subject: Path) -> tuple[Dataset, str]:
    if data is not None:
        return load_dataset(data), str(data)
    if run is None:
        raise DataError(f"bundle {subject} lies outside its run, so its test split is not at hand",
                        "Name a dataset: --data PATH")
    return run.test, str(run.path / TEST)


def _bundle(folder: Path, data: Path | None) -> Evaluation:
    bundle = load_bundle(folder)
    parent = folder.resolve().parent
    run = load_run(parent) if (parent / RUN).is_file() else None
    samples, where = _samples(run, data, folder)
    check_fits(samples, bundle.robot, where)
    if data is not None and samples.view is not None:
        raise DataError(f"dataset {where} has pictures from {len(samples.cameras)} cameras, bundle {folder} is for "
                        "its robot's own", "Evaluate the run, or collect without --cameras")
    samples = from_own_camera(bundle.robot, samples)
    engine = _open(bundle)
    try:
        logits = np.stack([_logits(engine, q) for q in samples.joint_pos.astype(np.float32)])
    finally:
        engine.close()
    return Evaluation(folder, "bundle", bundle.precision, engine.info.isa, where, len(samples),
                      score(sigmoid(logits), samples.masks),
                      floors(from_own_camera(bundle.robot, run.train), samples) if run is not None else {})


def _open(bundle: Bundle) -> Engine:
    """What the bundle deploys. Without a GPU the CPU stands for our kernels where it computes the same: not in FP16."""
    try:
        return open_bundle(bundle)
    except RuntimeFault as error:
        if bundle.target != "cuda":
            raise
        if bundle.precision == "fp16":
            raise RuntimeFault(f"bundle {bundle.path} computes in FP16 on a GPU alone: {error.message}",
                               "Evaluate it on the machine with the GPU, or its run here") from error
        return bundle.open_engine()


def _logits(engine: Engine, joint_pos: NDArray[np.float32]) -> NDArray[np.float32]:
    engine.run(joint_pos)
    return engine.logits()
