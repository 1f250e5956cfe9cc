"""What is evolved for: a robot's frames, its body model, a core and budgets; all that an evaluation needs.

It travels to workers as it is, on this machine or another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import ConfigError
from edgekin.models.body_graph import BodyGraph
from edgekin.models.registry import PictureShape
from edgekin.robot.spec import RobotSpec
from edgekin.sim.collect import uniform_dataset
from edgekin.sim.dataset import Dataset, take
from edgekin.training.run import Run

#: Of validation poses, so that they are nobody else's of the same seed.
SEED_OFFSET = 5_000_011
#: Frames learned from, at most, and frames that quality is judged on.
MOST_FRAMES, VALIDATION = 2000, 200
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(kib|mib|kb|mb|k|m)?b?", re.IGNORECASE)
_UNITS = {"": 1, "kib": 1 << 10, "mib": 1 << 20, "kb": 1000, "mb": 10**6, "k": 1000, "m": 10**6}
#: What is bounded.
BOUNDED = ("flash_bytes", "ram_bytes", "instructions")


@dataclass(frozen=True)
class Costs:
    """What a model takes on a core."""

    flash_bytes: float
    ram_bytes: float  # variables; the stack comes on top
    instructions: float  # of a tick: predict and score

    def excess(self, budgets: Costs) -> float:
        """Return by how much budgets are exceeded, in e-folds, added up; 0: all are kept."""
        pairs = [(getattr(self, name), getattr(budgets, name)) for name in BOUNDED]
        return float(sum(max(0.0, np.log(used / allowed)) for used, allowed in pairs))


@dataclass(frozen=True)
class Problem:
    """What evaluations have in common."""

    kind: str  # decoder | body
    robot: RobotSpec
    body: BodyGraph  # teaches decoders
    train: Dataset
    validation: Dataset  # neither trained on nor of the test split
    core: str
    budgets: Costs
    learn: tuple[str, ...] = ()  # of a body model, besides its ellipsoids

    @property
    def shape(self) -> PictureShape:
        """Of the pictures."""
        return PictureShape.of(self.robot)

    @property
    def often(self) -> NDArray[np.float32]:
        """(H, W): in what share of the training frames a pixel is on, in any view."""
        return np.asarray(self.train.masks.any(axis=1).mean(axis=0), dtype=np.float32)


def problem_of(run: Run, core: str, budgets: Costs, seed: int) -> Problem:
    """Return the problem that a run poses.

    Raises:
        ConfigError: its model is neither a decoder of neurokin's nor a body model, sees from any camera, or has no
            body model to learn from.
    """
    from edgekin.models.neurokin import widths_of

    model, body = run.self_model, run.body_model
    kind = {"neurokin": "decoder", "k3dgs": "body"}.get(model.name)
    if kind is None or (kind == "decoder" and widths_of(model.size) is None) or model.shape.n_camera:
        raise ConfigError(f"run {run.path} is of {model.name} {model.size}, which is not evolved",
                          "Train k3dgs, or neurokin in a compact size, seen by the robot's own cameras")
    if body is None:
        raise ConfigError(f"run {run.path} has no body model, which evolved decoders are distilled from",
                          "Train without --no-body-model, or with --teacher RUN")
    graph = body.graph()
    assert isinstance(graph, BodyGraph)
    train, validation = _split(run, seed)
    return Problem(kind, run.robot, graph, train, validation, core, budgets, model.learn)


def _split(run: Run, seed: int) -> tuple[Dataset, Dataset]:
    """Frames to learn from, and to judge by: fresh ones where poses fill the limits, else the last of the training."""
    train = replace(run.train, depth=None)
    if train.meta.get("excitation") == "sobol":
        return take(train, slice(0, MOST_FRAMES)), uniform_dataset(run.robot, VALIDATION, seed + SEED_OFFSET)
    held = min(VALIDATION, len(train) // 5)
    if held < 1:
        raise ConfigError(f"run {run.path} was trained on {len(train)} frames, too few to keep some for validation",
                          "Train on more samples")
    return take(train, slice(0, min(MOST_FRAMES, len(train) - held))), take(train, slice(len(train) - held, None))


def amount(text: str, option: str) -> int:
    """Return a number such as 64KiB, 32k, 400k or 1M; raises ConfigError for anything else."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or not float(found[1]) > 0:
        raise ConfigError(f"{option} is {text!r}, expected a size such as 64KiB, 65536 or 400k", f"Correct {option}")
    return round(float(found[1]) * _UNITS[(found[2] or "").lower()])


def budgets_json(budgets: Costs) -> dict[str, Any]:
    """JSON-ready."""
    return {name: getattr(budgets, name) for name in BOUNDED}
