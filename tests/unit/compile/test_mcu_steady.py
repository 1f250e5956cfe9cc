"""What of a decoder's maps never changes, and the spans that are left to compute."""

import numpy as np
import pytest

from edgekin.compile.mcu.pack import sparse
from edgekin.compile.mcu.steady import Steady, steady
from edgekin.quantization.qgraph import outputs_int8
from tests.parity.mcu_graphs import integer_graph

SILENT = list(range(2, 80, 3))  # of every third most cells have no weights


@pytest.mark.parametrize("seed", SILENT)
def test_steady_places_are_the_same_at_every_pose(seed):
    graph = integer_graph(seed)
    q = np.random.default_rng(seed).uniform(-3, 3, (20, graph.n_joints)).astype(np.float32)
    seen = {layer.name: x for layer, x in outputs_int8(graph, q)}
    for name, found in steady(graph).items():
        still = ~found.changing
        assert still.any()
        np.testing.assert_array_equal(seen[name][:, still], np.broadcast_to(found.values[still], (20, still.sum())))


def test_most_of_these_decoders_have_steady_places():
    assert sum(bool(steady(integer_graph(seed))) for seed in SILENT) > len(SILENT) // 3


def test_spans_cover_every_row_and_leave_nothing_out_that_changes():
    rng = np.random.default_rng(0)
    changing = np.zeros((3, 6, 600), dtype=bool)
    changing[:, 2:4, 5:300] = True
    values = np.zeros((3, 6, 600), dtype=np.int8)
    values[:, 0], values[:, :, -1] = 7, -3
    found = Steady(rng.integers(-9, 9, values.shape, dtype=np.int8) * changing + values * ~changing, changing).spans()
    assert found is not None
    at = 0
    out = np.full(values.shape, 99, dtype=np.int8)
    for places, still in found.rows.astype(int):
        row, column = divmod(at, 600)
        if still:
            out[:, row, column : column + places] = found.rest[still - 1][:, None]
        assert column + places <= 600
        at += places
    assert at == 6 * 600
    np.testing.assert_array_equal(out == 99, changing)
    np.testing.assert_array_equal(out[~changing], values[~changing])
    assert found.places == changing[0].sum()


@pytest.mark.parametrize("layout", ["rows", "pairs", "wide"])
def test_blocks_of_rows_without_weights_are_left_out(layout):
    rng = np.random.default_rng(1)
    weight = rng.integers(1, 9, (40, 32), dtype=np.int8)
    weight[4:12], weight[20:36] = 0, 0
    silent = np.ones(40, dtype=bool)
    found = sparse(weight, layout, silent)
    assert found is not None
    assert found.kernel == "linear_runs"
    assert found.at.tolist() == [0, 1, 2, 2, 4, 1]
    assert found.weight.size == 4 * 4 * 32
    silent[5] = False  # its bias alone gives something
    kept = sparse(weight, layout, silent)
    assert kept is not None
    assert kept.at.tolist() == [0, 2, 1, 2, 4, 1]


def test_nothing_is_left_out_where_all_rows_have_weights():
    assert sparse(np.ones((40, 32), dtype=np.int8), "pairs", np.ones(40, dtype=bool)) is None
