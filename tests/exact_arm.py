"""An arm whose model is exact: a body of ellipsoids, and a world that shows that body, whatever happens to it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from edgekin._ek import ffi, lib

from edgekin.compile.weights import write_body
from edgekin.detection.deviations import suspects_of
from edgekin.detection.inspection import fit
from edgekin.detection.looks import first_config, look_at
from edgekin.models.body import Body, Optics
from edgekin.models.body_graph import BodyGraph
from edgekin.robot import load_robot
from edgekin.robot.cameras import camera
from edgekin.robot.cameras import look_at as looking_at
from edgekin.robot.damage import link_direction
from edgekin.runtime.engine import Engine
from edgekin.runtime.inspector_config import InspectorConfig
from edgekin.sim.motion import LorenzMotion

WIDTH, HEIGHT = 84, 71  # no multiple of eight
PER_LINK = 5
RADIUS_M = 0.03
CAMERA_HZ = 60.0


def exact_arm():
    """Return arm4 seen by two cameras, and the weight file of ellipsoids in a row along each of its links."""
    spec = load_robot("arm4")
    views = (camera(looking_at((1.1, 0.2, 0.4), (0, 0, 0.25)), width=WIDTH, height=HEIGHT),
             camera(looking_at((0.1, 1.2, 0.5), (0, 0, 0.25)), width=WIDTH, height=HEIGHT))
    spec = replace(spec, cameras=views)
    links = np.repeat(np.arange(len(spec.links)), PER_LINK).astype(np.int32)
    body = Body(spec, links, Optics())
    flat = np.zeros(body.sections.total, np.float32)
    for link, rows in enumerate(flat[body.sections.ellipsoids].reshape(len(spec.links), PER_LINK, -1)):
        behind = [joint for joint in spec.joints if joint.child == link]
        along = link_direction(spec, behind[0]) if behind else np.array([0.0, 0.0, 1.0])
        far = float((spec.links[link].vertices @ along).max())
        rows[:, :3] = np.outer((np.arange(PER_LINK) + 0.5) / PER_LINK * far, along)
        rows[:, 3:6] = np.log([RADIUS_M, 0.8 * RADIUS_M, far / PER_LINK])  # every link of arm4 lies along its z
        rows[:, 6], rows[:, 10], rows[:, 11] = 1.0, 1.5, 5.0
    return spec, write_body(BodyGraph(spec, links, Optics(), flat))


@dataclass(frozen=True)
class Stretch:
    """Frames as an inspector takes them."""

    first = 0  # of no stream
    joint_pos: np.ndarray  # (N, J) rad, measured
    commanded: np.ndarray  # (N, J) rad
    masks: np.ndarray  # (N, V, H, row_bytes)


@dataclass
class World:
    """The exact arm, its camera and its encoders, at CAMERA_HZ.

    Its `model` is an engine of the arm as it was; its own `engine` draws what is there.

    Args:
        robot: as `exact_arm` returns it.
        blob: its weight file.
        seed: of the motion and of the noise.
    """

    robot: object
    blob: bytes
    seed: int = 0
    encoder_deg: float = 0.1  # standard deviation of what encoders read
    boundary: float = 0.05  # share of the pixels along outlines that flip
    rng: np.random.Generator = field(init=False)

    def __post_init__(self):
        self.model, self.engine = Engine(self.blob), Engine(self.blob)
        self._body = lib.ek_engine_body(self.engine.handle)
        self.deviations = suspects_of(self.robot).deviations
        assert lib.ek_body_deviations(self._body, ffi.new("ek_deviation[]", [vars(d) for d in self.deviations]),
                                      len(self.deviations)) == 0
        self.restart(self.seed)

    def close(self):
        """Close both engines."""
        self.model.close()
        self.engine.close()

    def restart(self, seed):
        """Begin another motion, with nothing deviated."""
        self.seed, self._drawn, self.rng = seed, 0, np.random.default_rng(seed)
        self._motion = LorenzMotion(self.robot.limits, seed)
        self.deviate({})
        self.lose(-1)

    def deviate(self, sizes):
        """Change the body: {index of the deviation: rad or share}."""
        values = [float(sizes.get(i, 0.0)) for i in range(len(self.deviations))]
        assert lib.ek_body_deviate(self._body, values) == 0

    def lose(self, link):
        """Lose a link and all beyond; -1: none."""
        assert lib.ek_body_hide(self._body, link) == 0

    def picture(self, q):
        """Return the masks (V, H, row_bytes) at a true pose, (J,) rad."""
        self.engine.run(q)
        masks = np.packbits(self.engine.logits() > 0, axis=-1)
        assert lib.ek_mask_noise(ffi.from_buffer("uint8_t[]", masks), len(masks), WIDTH, HEIGHT, self.boundary, 0.0,
                                 self.seed, self._drawn * len(masks)) == 0
        self._drawn += 1
        return masks

    def move(self, frames):
        """Return where the joints are sent, (N, J) rad, on from where they are."""
        return self._motion.path(frames, 1 / CAMERA_HZ)

    def measured(self, true):
        """Return what encoders read of true angles."""
        return true + np.radians(self.encoder_deg) * self.rng.standard_normal(true.shape)

    def show(self, frames):
        """Return the next frames, of a body as it now is, with every joint where it was sent."""
        commanded = self.move(frames)
        return Stretch(self.measured(commanded), commanded, np.stack([self.picture(q) for q in commanded]))


def taught(world: World) -> InspectorConfig:
    """Return settings that 35 s of healthy motion taught; thresholds are three times what healthy evidence gets to."""
    world.restart(100)
    first = first_config(world.robot, CAMERA_HZ)
    fitted = fit(first, look_at(world.model, first, [[world.show(2100)]]))
    return replace(fitted, threshold=15.0, unexplained_sum=60.0)
