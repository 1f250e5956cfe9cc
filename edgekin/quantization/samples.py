"""What a float graph computes for the calibration poses, a few at a time: every layer with its inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgekin.models.graph import Graph, Layer
from edgekin.models.reference import CHUNK, Array, step

#: Feature maps are computed for so many poses: each has hundreds of places, and they take nearly all of the time.
#: Vectors, which show one number a pose, are computed for all of them.
MAP_POSES = 256

#: One layer, its inputs and its outputs, both (N, C, H, W).
Step = tuple[Layer, Array, Array]


def is_map(x: Array) -> bool:
    """Tell whether activations (N, C, H, W) have places, other than vectors (N, C, 1, 1)."""
    return bool(x.shape[2] * x.shape[3] > 1)


def chunks(graph: Graph, joint_pos: Array) -> Iterator[list[Step]]:
    """Yield the steps of the graph for up to CHUNK poses at once, which are spread over all that are given.

    Args:
        graph: the float decoder.
        joint_pos: (N, J) rad.

    Yields:
        Every layer, inputs and outputs; beyond MAP_POSES poses only the layers before the first feature map.
    """
    n_chunks = -(-len(joint_pos) // CHUNK)
    for i in range(n_chunks):
        x: Array = np.asarray(joint_pos[i::n_chunks], np.float32)[:, :, None, None]
        steps: list[Step] = []
        for layer in graph.layers:
            y = step(layer, x)
            if is_map(y) and i * CHUNK >= MAP_POSES:
                break
            steps.append((layer, x, y))
            x = y
        yield steps


def peaks(graph: Graph, joint_pos: Array) -> dict[str, NDArray[np.float64]]:
    """Return the largest magnitude (C,) of every channel of every layer over joint angles (N, J) rad."""
    largest: dict[str, NDArray[np.float64]] = {}
    for steps in chunks(graph, joint_pos):
        for layer, _, y in steps:
            here = np.abs(y).max(axis=(0, 2, 3)).astype(np.float64)
            largest[layer.name] = np.maximum(largest.get(layer.name, here), here)
    return largest
