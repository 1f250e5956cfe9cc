"""Walking a graph over calibration poses: vectors for all of them, feature maps for some."""

from itertools import pairwise

import numpy as np

from edgekin.models.reference import activations
from edgekin.quantization.samples import MAP_POSES, chunks, peaks


def poses(n):
    return np.random.default_rng(3).uniform(-1.5, 1.5, (n, 4))


def test_every_pose_is_seen_once_by_vectors_and_some_by_maps(graph):
    n = MAP_POSES + 75
    seen = dict.fromkeys((layer.name for layer in graph.layers), 0)
    first = []
    for steps in chunks(graph, poses(n)):
        first.append(steps[0][1][:, :, 0, 0])
        for layer, _, output in steps:
            seen[layer.name] += len(output)
    assert np.array_equal(np.unique(np.concatenate(first), axis=0), np.unique(poses(n).astype(np.float32), axis=0))
    assert seen[graph.layers[1].name] == n
    assert MAP_POSES - 32 < seen[graph.layers[-1].name] <= MAP_POSES


def test_steps_are_those_of_the_float_network(graph):
    q = poses(20)
    (steps,) = chunks(graph, q)
    for (layer, _, output), (name, expected) in zip(steps, activations(graph, q), strict=True):
        assert layer.name == name
        assert np.array_equal(output, expected)
    for (_, _, before), (_, after, _) in pairwise(steps):
        assert after is before


def test_peaks_are_those_of_each_channel(graph):
    q = poses(40)
    largest = peaks(graph, q)
    for name, output in activations(graph, q):
        assert np.allclose(largest[name], np.abs(output).max(axis=(0, 2, 3)), rtol=1e-5)
