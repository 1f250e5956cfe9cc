"""A body model as a teacher: it draws poses that nobody collected, as many as a decoder can take.

A decoder that sees the same 1,600 frames a hundred times learns them by heart; from a body model it sees every pose
once. The poses of a step follow from seed and step alone, so a resumed training repeats them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import ConfigError
from edgekin.models.body_graph import BodyGraph
from edgekin.models.self_model import SelfModel
from edgekin.sim.dataset import Dataset

#: Beside uniform poses, for data that lie along trajectories: frames moved a little, and frames recombined joint by
#: joint, each moved by a normal deviate of so many standard deviations of the joint.
NEAR_SHARE, RECOMBINED_SHARE = 0.5, 0.4
NEAR_SPREAD, RECOMBINED_SPREAD = 0.15, 0.05


@dataclass(frozen=True)
class Poses:
    """Where the poses lie that a decoder learns from."""

    limits: NDArray[np.float64]  # (J, 2) rad
    frames: NDArray[np.float64] | None  # (N, J) rad of a trajectory to stay near; None: the limits are filled evenly

    @classmethod
    def of(cls, data: Dataset, limits: NDArray[np.float64]) -> Poses:
        """Return what suits a training set: Sobol samples fill the limits, anything else is taken as trajectories."""
        return cls(limits, None if data.meta.get("excitation") == "sobol" else data.joint_pos)

    def draw(self, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return n poses (n, J) rad within the limits."""
        q = rng.uniform(self.limits[:, 0], self.limits[:, 1], (n, len(self.limits)))
        if self.frames is not None:
            which, spread = rng.random(n), self.frames.std(axis=0) * rng.standard_normal(q.shape)
            near = self.frames[rng.integers(0, len(self.frames), n)] + NEAR_SPREAD * spread
            rows = rng.integers(0, len(self.frames), q.shape)
            recombined = np.take_along_axis(self.frames, rows, axis=0) + RECOMBINED_SPREAD * spread
            q[which < NEAR_SHARE + RECOMBINED_SHARE] = recombined[which < NEAR_SHARE + RECOMBINED_SHARE]
            q[which < NEAR_SHARE] = near[which < NEAR_SHARE]
        return np.clip(q, self.limits[:, 0], self.limits[:, 1]).astype(np.float32)


class Teacher:
    """A trained body model that draws poses for a decoder.

    Args:
        model: the body model, or it as plain numbers; it is not trained further.
        poses: where they lie.
        seed: of the poses.
        tells_depth: whether it has learned depth; silhouettes alone leave it open.

    Raises:
        ConfigError: it is no body model.
    """

    def __init__(self, model: SelfModel | BodyGraph, poses: Poses, seed: int, tells_depth: bool = False) -> None:
        graph = model.graph() if isinstance(model, SelfModel) else model
        if not isinstance(graph, BodyGraph):
            assert isinstance(model, SelfModel)
            raise ConfigError(f"model {model.name} cannot teach: it does not know the body", "Use a run of k3dgs")
        self.poses, self.seed, self.tells_depth = poses, seed, tells_depth
        self._body = graph.open()

    def batch(self, step: int, n: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return n poses (n, J) rad for a step, and the probabilities (n, V, H, W) that their pixels show the robot."""
        q = self.poses.draw(n, np.random.default_rng((self.seed, step)))
        return q, self._body.predict(q)

    def depth(self, q: NDArray[np.float32], probability: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the depth (n, V, H, W) m of n poses that it has drawn, +inf where it sees no robot."""
        out = np.empty_like(probability)
        for pose, picture in zip(q, out, strict=True):
            self._body.run(pose)
            picture[:] = self._body.depth()
        out[probability <= 0.5] = np.inf
        return out
