"""The chain of a robot whose joints are known by order, kind and limits alone, found from pictures.

A few ellipsoids to a link, fitted to small pictures for a second, tell a chain near the true one from the others; and
gradients bring axes that are off by tens of degrees into place, but no further. So chains whose axes lie along the
world's are tried, the best of them are changed joint by joint, and what wins is refined on larger and larger pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from edgekin.errors import ConfigError
from edgekin.models.k3dgs import Ellipsoids, loss_of, parts_of, scatter
from edgekin.models.self_model import SelfModel
from edgekin.robot.chain import TURNING, Axes, axes_at_rest, corrected, corrections_to, placed
from edgekin.robot.spec import Float, RobotSpec
from edgekin.sim.dataset import Dataset, take

#: Called with the share that is done.
Report = Callable[[float], None]

#: Longest side of the pictures that chains are tried on, px, and how many of them.
SIDE_PX, SAMPLES = 25, 600
#: Pictures that the winner is refined on.
REFINE_SAMPLES = 1600
#: Chains that are tried at first; the best that are kept; changes of them that are tried; and when to end before that:
#: after so many that did not lower the best loss by this share.
FIRST, KEPT, CHANGES, PATIENCE, WORTH = 60, 10, 600, 160, 0.02
#: Of the steps from a joint to the next, at first: how many go straight up. Arms stand more often than they lie.
UPWARD = 0.6
#: Shares of the changes: fit a chain longer, turn an axis by a right angle, turn it round; the rest move a joint.
LONGER, SQUARE, ROUND = 0.25, 0.35, 0.15
BATCH, BETAS, FINAL_RATE = 16, (0.9, 0.95), 0.05


@dataclass(frozen=True)
class _Fit:
    """How long and how boldly a chain is fitted."""

    steps: int
    rate: float  # Adam's, of the ellipsoids' shape
    chain_rate: float  # beside it
    per_part: int  # ellipsoids


TRY = _Fit(120, 3e-2, 0.3, 4)
GO_ON = _Fit(200, 2e-2, 0.2, 4)
#: What wins is refined on pictures reduced by half as much each time; so many go into each round.
REFINE = ((_Fit(800, 1e-2, 0.1, 6), 4), (_Fit(1500, 1e-2, 0.05, 8), 1))


@dataclass(frozen=True)
class _Tried:
    loss: float  # mean of the last steps, nats a pixel
    robot: RobotSpec  # with the chain as it was fitted
    shape: dict[str, torch.Tensor]  # the ellipsoids


@dataclass(frozen=True)
class _Pictures:
    """Samples reduced by a factor."""

    factor: int
    q: torch.Tensor  # (N, J) rad
    packed: NDArray[np.uint8]  # (N, V, H, ceil(W / 8))

    @classmethod
    def of(cls, data: Dataset, factor: int, count: int) -> _Pictures:
        masks = take(data, slice(0, count)).masks
        n, views, height, width = masks.shape
        rows, columns = height // factor, width // factor
        tiles = masks[:, :, :rows * factor, :columns * factor].reshape(n, views, rows, factor, columns, factor)
        packed = np.packbits(tiles.mean(axis=(3, 5)) >= 0.5, axis=-1)
        return cls(factor, torch.as_tensor(data.joint_pos[:n], dtype=torch.float32), packed)

    def seen(self, robot: RobotSpec) -> RobotSpec:
        """Return the robot with cameras of these pictures."""
        f = self.factor
        return replace(robot, cameras=tuple(
            replace(c, width=c.width // f, height=c.height // f, fx=c.fx / f, fy=c.fy / f, cx=c.cx / f, cy=c.cy / f)
            for c in robot.cameras))


def check_searchable(robot: RobotSpec, data: Dataset) -> None:
    """Check that a chain can be searched for; raises ConfigError."""
    if any(joint.kind not in TURNING for joint in robot.actuated):
        raise ConfigError(f"{robot.name} has joints that slide, and only chains of turning joints can be found",
                          "Give their axes in the URDF, and use --learn chain")
    if data.view is not None:
        raise ConfigError("a chain is found from what the robot's own cameras see, not from protocol views",
                          "Use another protocol, or --learn chain")


def find_chain(model: SelfModel, data: Dataset, seed: int, report: Report) -> None:
    """Search the chain that the pictures show, and let a model begin from it.

    Args:
        model: k3dgs that learns its chain; of its robot's chain only the joints' order, kinds and limits are used, and
            its base and cameras. Gets corrections and ellipsoids along the found chain.
        data: training samples of the robot's own cameras.
        seed: of what is tried.
        report: called as the search goes on.
    """
    network = model.module
    assert isinstance(network, Ellipsoids)  # no other model can learn a chain
    robot, rng = network.robot, np.random.default_rng(seed)
    learn = tuple(what for what in network.learn if what != "camera")
    factor = max(1, math.ceil(max(data.packed.shape[-2], data.width) / SIDE_PX))
    pictures = _Pictures.of(data, factor, SAMPLES)
    step_m = reach(robot, data) / (len(robot.actuated) + 1)
    work, done = FIRST * TRY.steps + CHANGES * GO_ON.steps + sum(4 * fit.steps * count for fit, count in REFINE), 0

    def fitted(chain: RobotSpec, fit: _Fit, on: _Pictures, shape: dict[str, torch.Tensor] | None = None) -> _Tried:
        nonlocal done
        tried = _fit(on.seen(chain), learn, fit, on, rng, shape)
        done += fit.steps * (1 if on is pictures else 4)
        report(min(1.0, done / work))
        return replace(tried, robot=corrected(chain, tried.shape.pop("chain").numpy()))

    kept = sorted((fitted(_any_chain(robot, step_m, rng), TRY, pictures) for _ in range(FIRST)), key=_loss)[:KEPT]
    best, since = kept[0].loss, 0
    for _ in range(CHANGES):
        which, kind = min(int(rng.exponential(KEPT / 4)), KEPT - 1), rng.random()
        if kind < LONGER:
            kept[which] = fitted(kept[which].robot, GO_ON, pictures, kept[which].shape)
        else:
            changed = _changed(robot, kept[which].robot, (kind - LONGER) / (1 - LONGER), step_m, rng)
            kept.append(fitted(changed, TRY, pictures))
        kept = sorted(kept, key=_loss)[:KEPT]
        best, since = (kept[0].loss, 0) if kept[0].loss < (1 - WORTH) * best else (best, since + 1)
        if since > PATIENCE:
            break
    for fit, finalists in REFINE:
        factor = max(1, factor // 2)
        larger = _Pictures.of(data, factor, REFINE_SAMPLES)
        kept = sorted((fitted(one.robot, fit, larger) for one in kept[:finalists]), key=_loss)
    found = kept[0].robot
    found = placed(robot, axes_at_rest(found))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network.chain.copy_(torch.as_tensor(corrections_to(robot, found)))
        scatter(network, found)
    report(1.0)


def reach(robot: RobotSpec, data: Dataset) -> float:
    """Return how far the robot reaches from its base, m, as its first camera sees it."""
    camera = robot.cameras[0]
    base = camera.world_to_cam @ robot.base[:, 3]
    seen = np.unpackbits(np.bitwise_or.reduce(data.packed[:, 0]), axis=-1, count=data.width)
    rows, columns = np.nonzero(seen)
    across = (columns + 0.5 - camera.cx) / camera.fx - base[0] / base[2]
    down = (rows + 0.5 - camera.cy) / camera.fy - base[1] / base[2]
    return float(np.hypot(across, down).max() * base[2])


def _loss(tried: _Tried) -> float:
    return tried.loss


def _any_chain(robot: RobotSpec, step_m: float, rng: np.random.Generator) -> RobotSpec:
    """A chain with axes along the world's and steps of one length along them."""
    world, at = np.eye(3), robot.base[:3, 3].copy()
    directions, points = [], []
    for _ in robot.actuated:
        up = rng.random() < UPWARD
        at = at + step_m * (world[2] if up else world[rng.integers(3)] * rng.choice([-1.0, 1.0]))
        directions.append(world[rng.integers(3)])
        points.append(at)
    return placed(robot, Axes(np.array(directions), np.array(points)))


def _changed(robot: RobotSpec, chain: RobotSpec, kind: float, step_m: float, rng: np.random.Generator) -> RobotSpec:
    """A chain with one axis elsewhere or turned round, or with one joint and those behind it moved; kind: 0 to 1."""
    axes = axes_at_rest(chain)
    directions, points, which = axes.directions.copy(), axes.points.copy(), rng.integers(len(axes.points))
    if kind < SQUARE / (1 - LONGER):
        across = np.cross(directions[which], rng.normal(size=3))
        directions[which] = _along_the_world(across) if rng.random() < 0.5 else across / np.linalg.norm(across)
    elif kind < (SQUARE + ROUND) / (1 - LONGER):
        directions[which] *= -1
    else:
        points[which:] += 0.7 * step_m * rng.normal(size=3)
    return placed(robot, Axes(directions, points))


def _along_the_world(direction: Float) -> Float:
    nearest = np.zeros(3)
    most = int(np.abs(direction).argmax())
    nearest[most] = np.sign(direction[most])
    return nearest


def _fit(robot: RobotSpec, learn: tuple[str, ...], fit: _Fit, pictures: _Pictures, rng: np.random.Generator,
         shape: dict[str, torch.Tensor] | None) -> _Tried:
    """Fit a chain and ellipsoids on it; `shape` of the result has the chain's corrections, too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        model = Ellipsoids(robot, [part for part in parts_of(robot) for _ in range(fit.per_part)], learn)
        scatter(model, robot)
    if shape is not None:
        model.load_state_dict(shape, strict=False)
    rates = {id(model.chain): fit.chain_rate}
    groups = [{"params": group["params"], "share": rates.get(id(group["params"][0]), group["scale"])}
              for group in model.parameter_groups()]
    optimiser, losses = torch.optim.Adam(groups, lr=fit.rate, betas=BETAS), []
    for step in range(fit.steps):
        falling = FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * step / fit.steps))
        for group in optimiser.param_groups:
            group["lr"] = fit.rate * group["share"] * falling
        rows = rng.integers(0, len(pictures.q), min(BATCH, len(pictures.q)))
        loss = loss_of(model.flat(), pictures.q[rows], pictures.packed[rows], model.body())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    return _Tried(float(np.mean(losses[-max(10, fit.steps // 10):])), robot, model.state_dict())
