"""Decoders with random weights for the parity tests."""

from __future__ import annotations

import numpy as np

from edgekin.models.graph import Graph, Layer
from edgekin.models.reference import activations


def weighted(rng: np.random.Generator, kind: str, name: str, shape: tuple[int, ...], **attrs: int) -> Layer:
    """A layer with normal weights, scaled so that activations keep their order of magnitude."""
    out_axis = 1 if kind == "convt" else 0
    fan_in = int(np.prod(shape)) // shape[out_axis]
    weight = rng.normal(0, (2 / fan_in) ** 0.5, shape).astype(np.float32)
    return Layer(kind, name, dict(attrs), weight, rng.normal(0, 0.1, shape[out_axis]).astype(np.float32))


def decoder(rng: np.random.Generator) -> Graph:
    """A small decoder that has every kind of layer but `joints`: 3 joints -> 2 views of 20 x 25."""
    layers = (
        Layer("sincos", "in"),
        weighted(rng, "linear", "linear", (96, 6), relu=1),
        Layer("reshape", "reshape", {"channels": 8, "height": 3, "width": 4}),
        weighted(rng, "convt", "convt_k4", (8, 12, 4, 4), stride=2, pad=1, relu=1),
        weighted(rng, "convt", "convt_k3", (12, 8, 3, 3), stride=1, pad=2, relu=0),
        Layer("resize", "resize", {"height": 11, "width": 13}),
        weighted(rng, "conv", "conv", (8, 8, 3, 3), pad=1, relu=0),
        Layer("pixel_shuffle", "shuffle", {"factor": 2}),
        Layer("crop", "crop", {"height": 20, "width": 25}),
    )
    return Graph(3, 2, 20, 25, layers)


def enlarged(rng: np.random.Generator, c: int, out: int, relu: int) -> Graph:
    """A 3x3 convolution of an enlarged map, of c channels to `out`: 2 joints -> 1 view."""
    h, w = rng.integers(1, 6, 2).tolist()
    tall, wide = int(h * rng.integers(2, 5) + rng.integers(0, 2)), int(w * rng.integers(2, 5) + rng.integers(0, 2))
    layers = (Layer("sincos", "in"), weighted(rng, "linear", "seam", (c * h * w, 4), relu=relu),
              Layer("reshape", "reshape", {"channels": c, "height": h, "width": w}),
              Layer("resize", "resize", {"height": tall, "width": wide}),
              weighted(rng, "conv", "conv", (out, c, 3, 3), pad=1, relu=1 - relu),
              weighted(rng, "conv", "head", (1, out, 1, 1), pad=0, relu=0))
    return Graph(2, 1, tall, wide, layers)


def calibrated(graph: Graph, q: np.ndarray) -> dict[str, float]:
    """Max-abs output scales of every layer over the joint angles q (N, J) rad."""
    return {name: max(float(np.abs(x).max()), 1e-3) / 127 for name, x in activations(graph, q)}
