"""Genomes of body models: ellipsoids on links, dropped, merged, parted."""

from types import SimpleNamespace

import numpy as np
import pytest

from edgekin.errors import ConfigError
from edgekin.evolution.body_space import BodySpace
from edgekin.evolution.body_weights import COLUMNS, fresh, importance, inherited, merged, parted
from edgekin.evolution.genome import Innovations, crossover
from edgekin.evolution.problem import Costs
from tests.small_arm import small_arm

pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")


def rows(n, seed=0):
    return fresh(n, np.random.default_rng(seed), 0.2)


def test_a_child_has_as_many_ellipsoids_as_its_genes_say():
    space, innovations, rng = BodySpace(small_arm(24, 24)), Innovations(), np.random.default_rng(0)
    genome = space.genome(innovations, dict.fromkeys(space.parts(), 4))
    tensors = {str(g.innovation): rows(4, g.innovation) for g in genome.of_kind("part")} | {"body.chain": np.ones(3)}
    for _ in range(20):
        child = space.mutate(genome, rng, innovations)
        assert space.total(child) >= 2
        tensors = inherited(genome, tensors, child, rng, 0.2)
        assert {str(g.innovation): int(g["count"]) for g in child.of_kind("part")} == {
            name: len(value) for name, value in tensors.items() if name != "body.chain"}
        genome = child
    np.testing.assert_array_equal(tensors["body.chain"], np.ones(3))


def test_a_child_of_two_bodies_need_not_be_one():
    from edgekin.evolution.bodies import Bodies

    space, innovations = BodySpace(small_arm(24, 24)), Innovations()
    first, second = space.parts()[:2]
    parents = [space.genome(innovations, {link: 2}) for link in (first, second)]
    children = [crossover(*parents, np.random.default_rng(seed)) for seed in range(20)]
    counts = {space.total(child) for child in children}
    assert counts == {0, 2, 4}
    for child in children:
        assert space.likely(child, Costs(1e6, 1e6, 1e6)) == (space.total(child) >= 2)
    empty = next(child for child in children if space.total(child) == 0)
    with pytest.raises(ConfigError, match="0 ellipsoids"):
        Bodies.model(SimpleNamespace(space=space), empty, {})


def test_the_faintest_goes_first():
    one = rows(3)
    one[1, COLUMNS["opacity"]] = -6.0
    assert importance(one).argmin() == 1


def test_parting_keeps_the_middle_and_merging_brings_it_back():
    one = rows(1)
    two = parted(one)
    np.testing.assert_allclose(two[:, :3].mean(axis=0), one[0, :3], atol=1e-6)
    again = merged(two)
    assert len(again) == 1
    np.testing.assert_allclose(again[0, :3], one[0, :3], atol=1e-6)
    # Along the axis that was divided it is longer than its halves.
    assert again[0, 3:6].max() > two[0, 3:6].max() - 1e-6
    assert again[0, 3:6].sum() > two[0, 3:6].sum()


def test_merging_equal_ellipsoids_in_one_place_changes_nothing():
    one = rows(1)
    same = merged(np.concatenate([one, one]))
    np.testing.assert_allclose(np.sort(same[0, 3:6]), np.sort(one[0, 3:6]), atol=1e-5)
    np.testing.assert_allclose(same[0, [10, 11]], one[0, [10, 11]], atol=1e-6)


def test_a_model_gives_back_its_genome_and_its_ellipsoids():
    from edgekin.evolution.bodies import Bodies

    class Posed:
        robot = small_arm(24, 24)
        learn = ()

        @property
        def shape(self):
            from edgekin.models.registry import PictureShape

            return PictureShape.of(self.robot)

    way, innovations = Bodies(Posed()), Innovations()
    genome = way.space.genome(innovations, {link: 1 + i for i, link in enumerate(way.space.parts())}, isotropic=True)
    tensors = {str(g.innovation): rows(int(g["count"]), g.innovation) for g in genome.of_kind("part")}
    model = way.model(genome, tensors)
    again, found = way.tensors(genome, model)
    assert again == genome
    for name, value in tensors.items():
        np.testing.assert_array_equal(found[name], value)
    assert model.size.endswith("-isotropic")
