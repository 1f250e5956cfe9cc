"""The body model in C: soft ellipsoids on the robot's kinematic tree, drawn and differentiated. Numpy only.

Its parameters are one array in the layout of engines/include/edgekin/models.h, "body model"; `Sections` cuts it up.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgekin.errors import ConfigError, RuntimeFault
from edgekin.robot.spec import RobotSpec
from edgekin.robot.structs import CONVENTION, base_rows, camera_struct, joint_structs

F32 = NDArray[np.float32]
ELLIPSOID, CORRECTION, CAMERA = 12, 6, 10  # floats each: EK_ELLIPSOID_FLOATS and so on
ISAS = ("auto", "scalar", "avx2", "avx512", "neon")  # EK_ISA_*


@dataclass(frozen=True)
class Optics:
    """What the pictures of a body model are made with, besides the cameras."""

    background: bool = False  # a static layer, one parameter a pixel
    low_pass_px2: float = 0.15  # added to every outline's shape: a sliver is seen between two samples
    empty: float = 1e-3  # probability of a pixel that nothing reaches


@dataclass(frozen=True)
class Loss:
    """Weights of what a picture's loss is made of; sums over its pixels."""

    nll: float = 1.0  # negative log-likelihood, nats
    squared: float = 0.0  # (p - y)^2
    log_squared: float = 0.0  # log(1 + sum of (p - y)^2): what a mean of PSNRs is made of


@dataclass(frozen=True)
class Sections:
    """Where the parts of the parameter array lie."""

    ellipsoids: slice
    joints: slice
    cameras: slice
    background: slice
    total: int


def sections(spec: RobotSpec, n_ellipsoids: int, background: bool) -> Sections:
    """Return where the parts of a body model's parameters lie."""
    camera = spec.cameras[0]
    sizes = (ELLIPSOID * n_ellipsoids, CORRECTION * len(spec.joints), CAMERA * len(spec.cameras),
             len(spec.cameras) * camera.height * camera.width if background else 0)
    ends = np.cumsum((0, *sizes)).tolist()
    ellipsoids, joints, cameras, static = (slice(a, b) for a, b in itertools.pairwise(ends))
    return Sections(ellipsoids, joints, cameras, static, ends[-1])


class Body:
    """A body model open in the C library; for one thread at a time.

    Args:
        spec: its kinematic tree and cameras, which must share one picture size.
        links: (N,) the link that carries each ellipsoid.
        optics: see Optics.
        isa: auto, scalar, avx2 or avx512.

    Raises:
        ConfigError: a tree or camera that the library refuses.
    """

    def __init__(self, spec: RobotSpec, links: ArrayLike, optics: Optics | None = None, isa: str = "auto") -> None:
        from edgekin._ek import ffi, lib

        self._ffi, self._lib = ffi, lib
        optics = optics if optics is not None else Optics()
        owners = np.ascontiguousarray(links, dtype=np.int32)
        camera = spec.cameras[0]
        self.shape = (len(spec.cameras), camera.height, camera.width)
        self.mask_shape = (len(spec.cameras), camera.height, (camera.width + 7) // 8)
        self.n_joints = len(spec.actuated)
        self.sections = sections(spec, len(owners), optics.background)
        joints = ffi.new("ek_joint[]", joint_structs(spec))
        cameras = ffi.new("ek_camera[]", [camera_struct(c) for c in spec.cameras])
        layout = ffi.new("ek_body_layout *", {
            "n_joints": len(spec.joints), "n_links": len(spec.links), "n_q": self.n_joints,
            "n_views": len(spec.cameras), "n_ellipsoids": len(owners), "joints": joints, "cameras": cameras,
            "base": base_rows(spec),
            "link_of_ellipsoid": ffi.from_buffer("int32_t[]", owners), "convention": CONVENTION[spec.convention],
            "background": int(optics.background), "isa": ISAS.index(isa), "low_pass_px2": optics.low_pass_px2,
            "empty": optics.empty})
        status = ffi.new("int *")
        handle = lib.ek_body_create(layout, status)
        if handle == ffi.NULL:
            raise ConfigError(f"the body model of {spec.name} cannot be opened: {self._text(status[0])}",
                              "Check the robot's joints and cameras")
        self._handle = ffi.gc(handle, lib.ek_body_destroy)

    def _text(self, status: int) -> str:
        return str(self._ffi.string(self._lib.ek_status_text(status)).decode())

    def _check(self, status: int, what: str) -> None:
        if status < 0:
            raise RuntimeFault(f"the body model {what}: {self._text(status)}")

    def _floats(self, array: ArrayLike, shape: tuple[int, ...], what: str) -> F32:
        values = np.ascontiguousarray(array, dtype=np.float32)
        if values.shape != shape:
            raise RuntimeFault(f"{what} have the shape {values.shape}, expected {shape}")
        return values

    def _pointer(self, array: F32 | None) -> Any:
        return self._ffi.NULL if array is None else self._ffi.from_buffer("float[]", array)

    def set(self, parameters: ArrayLike) -> None:
        """Take over the parameters (sections.total,) float32."""
        values = self._floats(parameters, (self.sections.total,), "parameters")
        self._check(self._lib.ek_body_set(self._handle, self._pointer(values)), "refuses its parameters")

    def lose(self, link: int) -> None:
        """Draw the body without a link, and all beyond, from the next run on; 0: with all."""
        self._check(self._lib.ek_body_lose(self._handle, link), f"has no link {link}")

    def run(self, q: ArrayLike) -> None:
        """Draw the pictures at joint angles q (J,) rad."""
        values = self._floats(q, (self.n_joints,), "joint angles")
        self._check(self._lib.ek_body_run(self._handle, self._pointer(values)), "cannot take these joint angles")

    def logits(self) -> F32:
        """Return the last pictures (V, H, W), natural-log odds."""
        out = np.empty(self.shape, dtype=np.float32)
        self._check(self._lib.ek_body_logits(self._handle, self._pointer(out)), "has no logits")
        return out

    def predict(self, q: ArrayLike) -> F32:
        """Return the probability that a pixel shows the robot (n, V, H, W), at joint angles q (n, J) rad."""
        angles = self._floats(q, (len(np.asarray(q)), self.n_joints), "joint angles")
        out = np.empty((len(angles), *self.shape), dtype=np.float32)
        if len(angles):
            status = self._lib.ek_body_predict(self._handle, self._pointer(angles), len(angles), self._pointer(out))
            self._check(status, "cannot take these joint angles")
        return out

    def depth(self) -> F32:
        """Return how far the last pictures' nearest fronts are (V, H, W), m; +inf where no ellipsoid is near.

        What `compare` or `pull` kept is lost.
        """
        out = np.empty(self.shape, dtype=np.float32)
        self._check(self._lib.ek_body_depth(self._handle, self._pointer(out)), "has no depth")
        return out

    def compare(self, packed: NDArray[np.uint8], loss: Loss | None = None) -> float:
        """Return the loss of the last pictures against masks (V, H, ceil(W / 8)), and keep its derivative."""
        masks, value = self._masks(packed, self.mask_shape), self._ffi.new("double *")
        status = self._lib.ek_body_compare(self._handle, masks, self._loss(loss), value)
        self._check(status, "cannot be compared")
        return float(value[0])

    def pull(self, dlogits: ArrayLike) -> None:
        """Keep another loss's derivative with respect to the last logits, (V, H, W)."""
        values = self._floats(dlogits, self.shape, "derivatives")
        self._check(self._lib.ek_body_pull(self._handle, self._pointer(values)), "cannot take the derivative")

    def backward(self, dparameters: F32 | None, dq: F32 | None) -> None:
        """Add to dparameters (sections.total,) and dq (J,) float32 what the kept derivative means for them."""
        status = self._lib.ek_body_backward(self._handle, self._pointer(dparameters), self._pointer(dq))
        self._check(status, "cannot be differentiated")

    def learn(self, q: ArrayLike, packed: NDArray[np.uint8], loss: Loss) -> tuple[float, F32]:
        """Return the sum of the losses of n pictures and its derivative.

        Args:
            q: (n, J) rad.
            packed: (n, V, H, ceil(W / 8)) uint8.
            loss: the weights.
        """
        angles = self._floats(q, (len(packed), self.n_joints), "joint angles")
        gradient, value = np.zeros(self.sections.total, dtype=np.float32), self._ffi.new("double *")
        masks = self._masks(packed, (len(packed), *self.mask_shape))
        status = self._lib.ek_body_learn(self._handle, self._pointer(angles), masks, len(packed), self._loss(loss),
                                         value, self._pointer(gradient))
        self._check(status, "cannot learn from these pictures")
        return float(value[0]), gradient

    def travel(self) -> F32:
        """Return how hard the pictures pulled at each ellipsoid (N,) since last asked."""
        out = np.empty(self.sections.ellipsoids.stop // ELLIPSOID, dtype=np.float32)
        self._check(self._lib.ek_body_travel(self._handle, self._pointer(out)), "has no statistics")
        return out

    def _masks(self, packed: NDArray[np.uint8], shape: tuple[int, ...]) -> Any:
        masks = np.ascontiguousarray(packed, dtype=np.uint8)
        if masks.shape != shape:
            raise RuntimeFault(f"the packed masks have the shape {masks.shape}, expected {shape}")
        return self._ffi.from_buffer("uint8_t[]", masks)

    def _loss(self, loss: Loss | None) -> Any:
        loss = loss if loss is not None else Loss()
        return self._ffi.new("ek_body_loss *", {"nll": loss.nll, "squared": loss.squared,
                                                "log_squared": loss.log_squared})
