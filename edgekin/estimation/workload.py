"""What one frame of a bundle asks of any engine: multiply-accumulates, weights and feature maps, layer by layer."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np

from edgekin.bundle import KNOWN_ANSWERS, WEIGHTS, Bundle, read_known_answers
from edgekin.errors import BundleError
from edgekin.models.body_graph import ELLIPSOID_MACS, POSE_MACS
from edgekin.runtime.engine import KINDS, Engine
from edgekin.runtime.profile import raw_layers

#: Bytes of an element.
ELEMENT_BYTES = {"fp32": 4, "fp16": 2, "int8": 1}
#: An ellipsoid at a pixel: quadratic form 5, cubic 3, product 1 (docs/formats.md, "Ellipsoids").
PIXEL_MACS = 9
#: A pixel less probable than this is outside of every outline but for its faint end.
SILHOUETTE = 0.01
#: Where the weight file's first layer says where its block is, and the block's first fields: docs/formats.md.
LAYER_OFFSET, WEIGHT_FIELD = 64, 64


@dataclass(frozen=True)
class Work:
    """One layer."""

    kind: str  # of edgekin.runtime.engine.KINDS, or scoring
    macs: int
    weights: int  # elements
    channels: int  # of the output, each with a bias
    elements: int  # of input and output together
    kernel: int = 0  # of convolutions
    least: int | None = None  # multiply-accumulates at best, where they depend on the pose; None: macs

    @property
    def least_macs(self) -> int:
        """Multiply-accumulates at best."""
        return self.macs if self.least is None else self.least

    def weight_bytes(self, precision: str) -> int:
        """Return the bytes of weights, biases and, of INT8, multipliers."""
        each = {"fp32": 4, "fp16": 2, "int8": 8}[precision] if self.weights else 0
        return self.weights * ELEMENT_BYTES[precision] + self.channels * each

    def map_bytes(self, precision: str) -> int:
        """Return the bytes of input and output."""
        return self.elements * ELEMENT_BYTES[precision]


@dataclass(frozen=True)
class Workload:
    """One frame, joint angles to score."""

    layers: tuple[Work, ...]
    is_body: bool  # ellipsoids, which TensorRT has no layers for

    @property
    def macs(self) -> int:
        """Multiply-accumulates, dense."""
        return sum(layer.macs for layer in self.layers)

    @property
    def least_macs(self) -> int:
        """Multiply-accumulates at best."""
        return sum(layer.least_macs for layer in self.layers)

    def bytes(self, precision: str) -> int:
        """Return the bytes that have to be moved at least."""
        return sum(layer.weight_bytes(precision) + layer.map_bytes(precision) for layer in self.layers)

    def weight_bytes(self, precision: str) -> int:
        """Return the bytes of all weights."""
        return sum(layer.weight_bytes(precision) for layer in self.layers)


def workload_of(bundle: Bundle) -> Workload:
    """Return what a frame of a native bundle asks for.

    Raises:
        BundleError: not a native bundle.
    """
    if bundle.target != "native":
        raise BundleError(f"bundle {bundle.path} is for target {bundle.target}; an estimate needs a native one",
                          "Run: edgekin compile --target native")
    with Engine.open(bundle.read(WEIGHTS)) as engine:
        pixels = engine.info.n_views * engine.info.height * engine.info.width
        # The comparison reads every logit and the mask's bit.
        scoring = Work("scoring", 0, 0, 0, pixels + pixels // 8)
        if KINDS[raw_layers(engine)[0].kind] == "ellipsoids":
            return Workload((_ellipsoids(bundle, engine, pixels), scoring), True)
        return Workload((*decoder_layers(engine), scoring), False)


def decoder_layers(engine: Engine) -> list[Work]:
    """Return the layers of an open decoder, without the comparison with the mask."""
    int8, found = engine.info.precision == "int8", []
    for raw in raw_layers(engine):
        inputs, outputs = raw.in_c * raw.in_h * raw.in_w, raw.out_c * raw.out_h * raw.out_w
        weights = (raw.weight_bytes - raw.out_c * (8 if int8 else 4)) // (1 if int8 else 4) if raw.weight_bytes else 0
        kernel = math.isqrt(weights // (raw.in_c * raw.out_c)) if KINDS[raw.kind] in ("conv", "convt") else 0
        found.append(Work(KINDS[raw.kind], raw.macs, weights, raw.out_c, inputs + outputs, kernel))
    return found


def _ellipsoids(bundle: Bundle, engine: Engine, pixels: int) -> Work:
    """Posing, projecting and drawing: at best each pixel of the silhouette lies in one outline, at worst in all."""
    blob = bundle.read(WEIGHTS)
    (offset,) = struct.unpack_from("<Q", blob, LAYER_OFFSET + WEIGHT_FIELD)
    links, joints, views, ellipsoids = struct.unpack_from("<4I", blob, offset)
    poses = read_known_answers(bundle.read(KNOWN_ANSWERS), f"{bundle.path}/{KNOWN_ANSWERS}")["joint_pos"]
    probability = 1 / (1 + np.exp(-engine.predict(poses).astype(np.float64)))
    silhouette = int((probability > SILHOUETTE).sum(axis=(1, 2, 3)).max())
    posing = ELLIPSOID_MACS * ellipsoids * views + POSE_MACS * (3 * joints + links * views)
    macs = posing + PIXEL_MACS * ellipsoids * silhouette
    floats = (len(blob) - offset) // 4
    least = posing + PIXEL_MACS * silhouette
    return Work("ellipsoids", macs, floats, 0, engine.info.n_joints + pixels, least=least)
