"""What parameters of a body cannot take over, lost and added parts: a small linear patch on its pictures.

The difference between a picture and the body's prediction is taken as a sum of features, each of a weight that
recursive least squares find (in information form): for every link what its loss, with all beyond, would change; and
soft balls on a grid about the far end of the last link, which something that it carries lights up. Numpy and the
engine, no torch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekin.detection.adaptation import ADAPTED, FIT_FRAMES, FITTING, GIVEN_BACK, TRY_FRAMES, TRYING
from edgekin.robot.damage import link_direction
from edgekin.robot.kinematics import link_poses
from edgekin.robot.spec import Float, RobotSpec
from edgekin.runtime.engine import Engine

#: Balls along the last link from its far end outwards, across it, and how many before that end; their distance and
#: standard deviation in pixels at the arm's mean distance.
ALONG, ACROSS, BEHIND, APART_PX, SOFT_PX = 7, 3, 1, 2.5, 1.5
#: Squared pixels that a weight of one must save.
RIDGE = 0.3
#: What a unit of a weight changes less than this is left out.
LEAST = 1e-3
#: A patch must leave this share of the squared error at most.
LEFT = 0.7
#: Log-odds beyond which a probability is 0 or 1.
CERTAIN = 60.0


def probability(logits: NDArray[np.float32]) -> Float:
    """Return probabilities of log-odds."""
    out: Float = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -CERTAIN, CERTAIN)))
    return out


class Patch:
    """A linear patch on the predictions of a body.

    Args:
        engine: of the body, as it deviates.
        robot: whose body it is.
    """

    def __init__(self, engine: Engine, robot: RobotSpec) -> None:
        self._engine, self._robot = engine, robot
        self._links = [joint.child for joint in robot.actuated]
        self._link, self._balls = _balls(robot)
        count = len(self._links) + len(self._balls)
        self._information, self._score = RIDGE * np.eye(count), np.zeros(count)
        self.weights: Float = np.zeros(count)

    def _features(self, q: Float) -> tuple[Float, Float]:
        """The body's prediction (V, H, W), and how a unit of each weight changes it, (M, V, H, W)."""
        self._engine.run(q)
        whole = probability(self._engine.logits())
        parts = []
        for link in self._links:
            self._engine.hide(link)
            self._engine.run(q)
            parts.append(probability(self._engine.logits()) - whole)
        self._engine.hide(-1)
        pose = link_poses(self._robot, q)[0, self._link]
        at = self._balls @ pose[:3, :3].T + pose[:3, 3]
        views = np.stack([self._lit(at, view) for view in range(len(self._robot.cameras))], axis=1)
        return whole, np.concatenate([np.stack(parts), views * (1 - whole)])

    def _lit(self, at: Float, view: int) -> Float:
        """Soft discs (M, H, W) where balls at (M, 3) m are seen."""
        camera = self._robot.cameras[view]
        eye = at @ camera.world_to_cam[:3, :3].T + camera.world_to_cam[:3, 3]
        depth = np.maximum(eye[:, 2], camera.near)[:, None]
        u, v = (camera.fx * eye[:, :1] / depth + camera.cx, camera.fy * eye[:, 1:2] / depth + camera.cy)
        across = np.exp(-0.5 * np.square((np.arange(camera.width) + 0.5 - u) / SOFT_PX))
        down = np.exp(-0.5 * np.square((np.arange(camera.height) + 0.5 - v) / SOFT_PX))
        lit: Float = down[:, :, None] * across[:, None, :]
        return lit

    def learn(self, q: Float, mask: NDArray[np.bool_]) -> None:
        """Take a picture into account.

        Args:
            q: (J,) rad.
            mask: (V, H, W).
        """
        whole, features = self._features(q)
        seen = (np.abs(features) > LEAST).any(axis=0)
        flat = features[:, seen]
        self._information += flat @ flat.T
        self._score += flat @ (mask - whole)[seen]
        self.weights = np.asarray(np.linalg.solve(self._information, self._score), np.float64)

    def predict(self, q: Float) -> tuple[Float, Float]:
        """Return the body's prediction, and the patched one, as probabilities (V, H, W)."""
        whole, features = self._features(q)
        return whole, np.clip(whole + np.tensordot(self.weights, features, 1), 0.0, 1.0)


def _balls(robot: RobotSpec) -> tuple[int, Float]:
    """The last link that can be seen, and a grid of points (M, 3) m in its frame, about its far end."""
    joint = next((j for j in reversed(robot.actuated) if len(robot.links[j.child].vertices)), robot.actuated[-1])
    along = link_direction(robot, joint)
    first = np.cross(along, np.eye(3)[np.argmin(np.abs(along))])
    first = first / np.linalg.norm(first)
    vertices = robot.links[joint.child].vertices
    far = float((vertices @ along).max()) if len(vertices) else 0.0
    camera = robot.cameras[0]
    middle = link_poses(robot, robot.limits.mean(axis=1))[0, joint.child, :3, 3]
    depth = float((camera.world_to_cam[:3, :3] @ middle + camera.world_to_cam[:3, 3])[2])
    apart = APART_PX * max(depth, camera.near) / camera.fx
    side = apart * (np.arange(ACROSS) - (ACROSS - 1) / 2)
    steps = far + apart * (np.arange(ALONG + BEHIND) - BEHIND)
    grid = np.stack(np.meshgrid(steps, side, side, indexing="ij"), axis=-1).reshape(-1, 3)
    return joint.child, grid @ np.stack([along, first, np.cross(along, first)])


class Patcher:
    """Fits a patch to the pictures after an alarm that no parameter explains, and tries it on fresh ones.

    Args:
        engine: of the body.
        robot: whose body it is.
        fit_frames: pictures that it is fitted to.
    """

    def __init__(self, engine: Engine, robot: RobotSpec, fit_frames: int = FIT_FRAMES) -> None:
        self.patch, self.state = Patch(engine, robot), FITTING
        self._left, self._width = fit_frames, robot.cameras[0].width
        self._misfits = np.zeros(2)

    def judge(self, q: Float, masks: NDArray[np.uint8]) -> str:
        """Take a picture and return the state.

        Args:
            q: (J,) rad.
            masks: (V, H, row_bytes) as numpy.packbits makes them.
        """
        mask = np.unpackbits(masks, axis=-1, count=self._width).astype(bool)
        if self.state == FITTING:
            self.patch.learn(q, mask)
            self._left -= 1
            if self._left <= 0:
                self.state, self._left = TRYING, TRY_FRAMES
        elif self.state == TRYING:
            self._misfits += [float(np.square(one - mask).sum()) for one in self.patch.predict(q)]
            self._left -= 1
            if self._left == 0:
                self.state = ADAPTED if self._misfits[1] < LEFT * self._misfits[0] else GIVEN_BACK
        return self.state
