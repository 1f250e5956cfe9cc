"""Genomes of decoders: their sizes, their mutations, and what children inherit."""

import numpy as np
import pytest

from edgekin.evolution.decoder_space import DecoderSpace
from edgekin.evolution.decoder_weights import inherited, kept_cells, silenced
from edgekin.evolution.genome import Genome, Innovations
from edgekin.models.registry import PictureShape

pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")

SHAPE = PictureShape(4, 1, 24, 20)
SPACE = DecoderSpace(SHAPE)


class Posed:
    """What Decoders takes of a problem to build a model."""

    shape = SHAPE


def decoders():
    from edgekin.evolution.decoders import Decoders

    return Decoders(Posed())


def made(innovations, size="16x8-4f4-8-p", seed=0):
    genome = SPACE.of_size(size, innovations)
    way = decoders()
    return way, *way.tensors(genome, way.fresh(genome, seed))


def pictures(way, genome, tensors):
    q = np.random.default_rng(5).uniform(-1, 1, (6, 4))
    return way.model(genome, tensors).logits(q)


@pytest.mark.parametrize("size", ["16x8-4f4-8-p", "24-4f5-8tx8p", "8-4f8-none-p", "16x16x8-8f4-4px12"])
def test_a_size_comes_back_from_its_genome_and_json(size):
    genome = SPACE.of_size(size, Innovations())
    assert SPACE.size(genome) == size
    assert Genome.from_json(genome.to_json()) == genome


def test_mutants_can_be_built_and_modules_of_one_mutation_share_its_number():
    innovations, rng = Innovations(), np.random.default_rng(0)
    way, genome, tensors = made(innovations)
    for _ in range(30):
        child = SPACE.mutate(genome, rng, innovations)
        tensors = silenced(inherited(SPACE, genome, tensors, child, rng), child, SPACE,
                           np.ones((24, 20), np.float32), rng)
        assert pictures(way, child, tensors).shape == (6, 1, 24, 20)
        assert all(np.isfinite(t).all() for t in tensors.values())
        genome = child
    assert len({g.innovation for g in genome.genes}) == len(genome.genes)


def test_widening_keeps_the_function():
    innovations, rng = Innovations(), np.random.default_rng(1)
    way, genome, tensors = made(innovations)
    wider = genome.put(*(g.having(width=2 * g["width"]) for g in genome.genes if "width" in g.alleles),
                       genome.of_kind("seam")[0].having(channels=8))
    child = inherited(SPACE, genome, tensors, wider, rng)
    np.testing.assert_allclose(pictures(way, wider, child), pictures(way, genome, tensors), rtol=1e-4, atol=1e-4)
    assert child[f"{genome.of_kind('code')[0].innovation}.weight"].shape == (16, 32)


@pytest.mark.parametrize(("kind", "at"), [("hidden", 1.0), ("hidden", 0.0), ("conv", 1.0), ("conv", 0.0)])
def test_a_new_module_begins_as_the_identity(kind, at):
    innovations, rng = Innovations(), np.random.default_rng(2)
    way, genome, tensors = made(innovations, "16x8-4f4-8")
    alleles = {"width": 16} if kind == "hidden" else {"width": 8, "kind": 0}
    deeper = SPACE._add(genome, kind, at, alleles, innovations)
    child = inherited(SPACE, genome, tensors, deeper, rng)
    np.testing.assert_allclose(pictures(way, deeper, child), pictures(way, genome, tensors), rtol=1e-4, atol=1e-4)


def test_narrowing_keeps_the_units_of_the_largest_magnitude():
    innovations, rng = Innovations(), np.random.default_rng(3)
    way, genome, tensors = made(innovations, "16x16-4f4-8")
    name = str(SPACE.hidden(genome)[0].innovation)
    loud = np.arange(16) % 2 == 0
    for part in ("weight", "bias"):
        tensors[f"{name}.{part}"][~loud] *= 0.0
    narrow = genome.put(SPACE.hidden(genome)[0].having(width=8))
    child = inherited(SPACE, genome, tensors, narrow, rng)
    np.testing.assert_allclose(pictures(way, narrow, child), pictures(way, genome, tensors), rtol=1e-4, atol=1e-4)


def test_narrowing_reads_what_goes_through_what_stays():
    innovations, rng = Innovations(), np.random.default_rng(8)
    way, genome, tensors = made(innovations, "16x16-4f4-8")
    first = SPACE.hidden(genome)[0]
    name = str(first.innovation)
    for part in ("weight", "bias"):
        tensors[f"{name}.{part}"][8:] = 1.7 * tensors[f"{name}.{part}"][:8]
    q = np.random.default_rng(9).uniform(-1, 1, (200, 4))
    features = np.concatenate([np.sin(q), np.cos(q)], axis=1)
    units = np.maximum(features @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"], 0)
    narrow = genome.put(first.having(width=8))
    child = inherited(SPACE, genome, tensors, narrow, rng, {name: units.T @ units / len(units)})
    np.testing.assert_allclose(pictures(way, narrow, child), pictures(way, genome, tensors), rtol=1e-2, atol=1e-2)


def test_what_reads_a_dropped_layer_begins_anew_and_nothing_else_does():
    innovations, rng = Innovations(), np.random.default_rng(10)
    _, genome, tensors = made(innovations, "16x16-4f4-8")
    conv = genome.of_kind("conv")[0]
    child = inherited(SPACE, genome, tensors, genome.without(conv), rng)
    head = f"{genome.of_kind('head')[0].innovation}.weight"
    assert child[head].shape == (16, 4, 3, 3)
    assert 0.5 < child[head].std() / np.sqrt(2 / (4 * 9)) < 1.5
    for name in child.keys() - {head}:
        np.testing.assert_array_equal(child[name], tensors[name])


def test_another_grid_shows_nearly_the_same_picture():
    innovations, rng = Innovations(), np.random.default_rng(4)
    way, genome, tensors = made(innovations, "16x8-4f4-none-p")
    finer = genome.put(genome.of_kind("seam")[0].having(factor=2))
    child = inherited(SPACE, genome, tensors, finer, rng)
    before, after = pictures(way, genome, tensors).mean(), pictures(way, finer, child).mean()
    assert after == pytest.approx(before, abs=0.3)


def test_cells_that_are_not_kept_are_silent_and_stay_so_in_training():
    import torch

    innovations, rng = Innovations(), np.random.default_rng(6)
    way, genome, tensors = made(innovations, "16x8-4f4-8")
    genome = genome.put(genome.of_kind("cells")[0].having(keep=0.5))
    often = np.zeros((24, 20), np.float32)
    often[:12] = 1.0
    tensors = silenced(tensors, genome, SPACE, often, rng)
    awake = kept_cells(often, 4, (6, 5), 0.5)
    assert awake.reshape(6, 5)[:3].all()
    assert not awake.reshape(6, 5)[3:].any()
    model = way.model(genome, tensors)
    seam = [m for m in model.module.layers if isinstance(m, torch.nn.Linear)][-1]
    model.module(torch.ones(2, 4)).square().sum().backward()
    silent = ~np.tile(awake, 4)
    assert not seam.weight.grad[silent].any()
    assert not seam.weight[silent].any()
    assert seam.weight.grad[~silent].any()
