"""Exported C against the integer reference in numpy: on the host, and on every core where its tools are installed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("edgekin._ek", reason="build it: python setup.py build_ext --inplace")
from edgekin.compile.mcu import build, emulate, reference
from edgekin.compile.mcu.bench import scores
from edgekin.compile.mcu.cores import CORES, PACKAGES, Core
from edgekin.compile.mcu.decoder import SOURCE, export, log_odds
from edgekin.compile.mcu.subjects import of_graphs, of_model
from edgekin.quantization.qgraph import QuantGraph, forward_int8, quantize_graph
from tests.parity.graphs import calibrated, decoder
from tests.parity.mcu_graphs import integer_graph, loud_graph

GRAPHS, LAYERS, POSES = 200, 1000, 2
SANITIZED = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="module")
def graphs() -> list[QuantGraph]:
    return [loud_graph(), *(integer_graph(seed) for seed in range(GRAPHS))]


@pytest.fixture(scope="module")
def asked(graphs: list[QuantGraph]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Joint angles and the reference's logits of every graph."""
    rng = np.random.default_rng(0)
    units = [reference.to_units(rng.uniform(-4, 4, (POSES, g.n_joints))) for g in graphs]
    return units, [reference.predict(g, u) for g, u in zip(graphs, units, strict=True)]


def tools(core: Core) -> None:
    """Skip where the core cannot be emulated here."""
    missing = [tool for tool in (core.compiler, core.emulator) if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is missing: apt-get install {' '.join(PACKAGES)}")


def mismatches(run: emulate.Emulation, expected: list[np.ndarray]) -> int:
    """Outputs that are not the reference's."""
    return sum(int((a.logits != e.reshape(len(e), -1)).sum()) for a, e in zip(run.answers, expected, strict=True))


def prepared(graphs: list[QuantGraph], layout: str, units: list[np.ndarray], folder: Path) -> list[emulate.Subject]:
    text, subjects = of_graphs(graphs, layout)
    build.write(folder, {"graphs.c": text})
    (folder / "in.bin").write_bytes(emulate.inputs(units, [np.zeros((POSES, 0), np.uint8)] * len(units)))
    return subjects


def test_there_are_a_thousand_random_layers(graphs: list[QuantGraph]) -> None:
    assert sum(len(g.layers) - 1 for g in graphs) >= LAYERS


@pytest.mark.parametrize("layout", ["rows", "pairs", "wide"])
def test_every_layout_gives_the_references_bits_on_the_host(layout: str, graphs, asked, tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("cc is missing: apt-get install build-essential")
    units, expected = asked
    subjects = prepared(graphs, layout, units, tmp_path)
    image = build.build_host(tmp_path, ["graphs.c"], "host", SANITIZED)
    assert mismatches(emulate.run_host(image, subjects, POSES), expected) == 0


@pytest.mark.parametrize("core", CORES.values(), ids=CORES)
def test_every_core_gives_the_references_bits(core: Core, graphs, asked, tmp_path: Path) -> None:
    tools(core)
    units, expected = asked
    subjects = prepared(graphs, core.layout, units, tmp_path)
    image = build.build(core, tmp_path, ["graphs.c"], "bench.c", "graphs.elf")
    assert mismatches(emulate.run(core, image, subjects, POSES, None), expected) == 0


def test_the_fixed_sines_are_those_of_the_float_reference_but_for_ties() -> None:
    rng = np.random.default_rng(3)
    q = rng.uniform(-7, 7, (20_000, 1))
    layer = next(g for g in (integer_graph(s) for s in range(20)) if g.layers[0].kind == "sincos").layers[0]
    fixed = reference.levels(layer, reference.to_units(q)).astype(np.int32)
    exact = np.rint(np.concatenate([np.sin(q), np.cos(q)], axis=1) * 32767)
    assert np.abs(fixed - exact).max() <= 1
    assert (fixed != exact).mean() < 1e-3


def scored(core: Core, folder: Path, count: Path | None) -> tuple[emulate.Emulation, np.ndarray, np.ndarray]:
    """A decoder of two views on a core, and what the reference says of its scores."""
    rng = np.random.default_rng(5)
    graph = decoder(rng)
    quantized = quantize_graph(graph, calibrated(graph, rng.uniform(-1, 1, (64, 3)).astype(np.float32)))
    exported = export(quantized, core.layout)
    units = reference.to_units(rng.uniform(-1, 1, (POSES, 3)))
    masks = np.packbits(rng.random((POSES, 2, 20, 25)) < 0.4, axis=-1)
    text, subjects = of_model(exported)
    build.write(folder, exported.files | {"subjects.c": text})
    (folder / "in.bin").write_bytes(emulate.inputs([units], [masks]))
    image = build.build(core, folder, [SOURCE, "subjects.c"], "bench.c", "bench.elf")
    logits = reference.predict(quantized, units)
    odds = log_odds(quantized)
    table = reference.pixels(reference.score_units(25, float(odds.max())), odds)
    assert (logits == forward_int8(quantized, units / reference.UNITS_PER_RAD)).mean() > 0.99
    return emulate.run(core, image, subjects, POSES, count), logits, reference.score(logits, masks, table)


@pytest.mark.parametrize("core", CORES.values(), ids=CORES)
def test_scores_are_exact_and_the_timer_counts_as_the_plugin(core: Core, tmp_path: Path) -> None:
    tools(core)
    plugin = emulate.plugin(tmp_path)
    run, logits, expected = scored(core, tmp_path, plugin)
    timed, *_ = scored(core, tmp_path, None)
    answers = run.answers[0]
    np.testing.assert_array_equal(answers.logits.reshape(logits.shape), logits)
    np.testing.assert_array_equal(scores(answers.scores), expected)
    assert 0 < run.stack_bytes < 2048
    if run.exact:
        assert np.abs(answers.predict - timed.answers[0].predict).max() <= 2 * core.tick_ns + 50
