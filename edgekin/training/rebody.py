"""A body model fitted anew to the few frames of an arm that has changed, alone or beside healthy ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekin.errors import DataError, MissingExtra
from edgekin.sim.dataset import Dataset
from edgekin.training.run import Run

if TYPE_CHECKING:
    from edgekin.models.self_model import SelfModel

#: Steps of Adam, samples of each, and the rate that the first ones have; it falls to zero as half a cosine.
STEPS, BATCH, RATE = 6000, 16, 2e-3
#: What is learned besides the ellipsoids: a change may move joints and cameras, too.
LEARNED = ("camera", "chain")


@dataclass(frozen=True)
class Rebodied:
    """A body fitted anew, and how good it is."""

    damaged_db: float  # mean PSNR on the arm as it is
    healthy_db: float  # the same on the arm as it was: what the fit has left of that
    frames: int  # of the changed arm that it was fitted to
    seconds: float


def rebody(run: Run, frames: Dataset, replay: float, tests: tuple[Dataset, Dataset], seed: int = 0,
           report: Callable[[int, int], None] = lambda done, total: None) -> Rebodied:
    """Fit a copy of a run's body model, joints and cameras included, to the frames of a changed arm.

    Args:
        run: with a body model; it stays as it is.
        frames: of the changed arm.
        replay: share of every step's samples that are healthy ones of the run's training.
        tests: of the arm as it is, and as it was.
        seed: of the order.
        report: called with (steps done, steps in all).

    Raises:
        MissingExtra: torch is not installed.
        DataError: the run has no body model.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtra("torch", "train") from None
    from edgekin.models.registry import Batch, OwnTraining
    from edgekin.training.train import score_model

    model, rng, began = _copy(run), np.random.default_rng(seed), time.monotonic()
    body = model.module
    assert isinstance(body, OwnTraining)
    groups = [{**group, "lr": RATE * group["scale"]} for group in body.parameter_groups()]
    optimiser = torch.optim.Adam(groups)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    healthy = round(replay * BATCH)
    old = run.train if healthy else frames
    for step in range(STEPS):
        new_rows = rng.integers(len(frames.joint_pos), size=BATCH - healthy)
        old_rows = rng.integers(len(old.joint_pos), size=healthy)
        q = np.concatenate([frames.joint_pos[new_rows], old.joint_pos[old_rows]])
        packed = np.concatenate([frames.packed[new_rows], old.packed[old_rows]])
        batch = Batch(np.arange(BATCH), torch.from_numpy(q.astype(np.float32)), packed, None, rng)
        optimiser.zero_grad()
        body.training_loss(batch, step / STEPS).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        decay.step()
        report(step + 1, STEPS)
    damaged, before = (score_model(model, test)["psnr_db"] for test in tests)
    return Rebodied(damaged, before, len(frames.joint_pos), time.monotonic() - began)


def _copy(run: Run) -> SelfModel:
    """The run's body model with joints and cameras free."""
    from edgekin.models.k3dgs import Ellipsoids
    from edgekin.models.self_model import SelfModel

    model = run.body_model
    if model is None or not isinstance(model.module, Ellipsoids):
        raise DataError(f"run {run.path} has no body model", "Train without --no-body-model")
    old, learn = model.module, tuple({*LEARNED, *model.module.learn})
    body = Ellipsoids(run.robot, old.links.tolist(), learn, old.isotropic)
    body.load_state_dict(old.state_dict())
    return SelfModel(model.name, model.size, model.shape, body, learn)
