"""The NEAT core: distances, crossover, species, structural mutation; and XOR, neat-python's own test problem."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekin.evolution.genome import Gene, Genome, Innovations, Weights, crossover, distance
from edgekin.evolution.network import Networks
from edgekin.evolution.reproduction import Rates, breed
from edgekin.evolution.species import Speciation

XOR = [((0.0, 0.0), 0.0), ((0.0, 1.0), 1.0), ((1.0, 0.0), 1.0), ((1.0, 1.0), 0.0)]
#: Of neat-python's examples/xor: fitness 4 - sum of squared errors, solved at 3.9, 150 genomes, 300 generations.
SOLVED, POPULATION, GENERATIONS = 3.9, 150, 300


def genome(*numbers, width=1.0):
    return Genome.of(Gene(n, "part", {"width": width}) for n in numbers)


def by_width(a, b):
    return abs(a["width"] - b["width"])


def fitness_of(space, found):
    return 4.0 - sum((space.run(found, list(x))[0] - y) ** 2 for x, y in XOR)


def solve_xor(seed):
    """Return (generations, genome) of the first network that solves XOR; None for the genome where none does."""
    rng, space = np.random.default_rng(seed), Networks(2, 1)
    innovations = space.innovations()
    population = [space.minimal(rng, innovations) for _ in range(POPULATION)]
    speciation = Speciation(space.difference, threshold=2.0, wanted=10, weights=Weights(1.0, 1.0, 0.4))
    for generation in range(GENERATIONS):
        fitness = [fitness_of(space, found) for found in population]
        if max(fitness) > SOLVED:
            return generation, population[int(np.argmax(fitness))]
        members = speciation.assign(population, fitness)
        quotas = speciation.quotas(members, fitness, POPULATION)
        population = [child.genome for child in
                      breed(population, members, quotas, space, innovations, rng, Rates(elite=1, survive=0.2))]
        assert len(population) == POPULATION
    return GENERATIONS, None


@pytest.mark.parametrize("seed", range(6))
def test_xor_is_solved_as_neat_pythons_example_states_it(seed):
    generations, found = solve_xor(seed)
    assert found is not None, f"not solved in {generations} generations"
    assert len(found.of_kind("node")) >= 1, "XOR cannot be computed without a hidden unit"
    outputs = [Networks(2, 1).run(found, list(x))[0] for x, _ in XOR]
    assert [round(y) for y in outputs] == [0, 1, 1, 0]


def test_a_distance_counts_excess_disjoint_and_alleles():
    a, b = genome(0, 1, 2, 5), genome(0, 1, 3, width=3.0)
    weights = Weights(excess=1.0, disjoint=10.0, alleles=100.0)
    # 5 is in excess (beyond 3), 2 and 3 are disjoint; 0 and 1 are 2 apart; the longer has four genes.
    assert distance(a, b, by_width, weights) == pytest.approx(1 / 4 + 20 / 4 + 200)
    assert distance(a, a, by_width, weights) == 0.0


@settings(deadline=None)
@given(st.sets(st.integers(0, 12)), st.sets(st.integers(0, 12)))
def test_a_distance_is_symmetric(a, b):
    left, right = genome(*a), genome(*b, width=2.0)
    assert distance(left, right, by_width) == pytest.approx(distance(right, left, by_width))


def test_disjoint_and_excess_genes_come_from_the_fitter():
    fitter, other = genome(0, 1, 4), genome(0, 2, 3, 7, width=9.0)
    seen = set()
    for seed in range(20):
        child = crossover(fitter, other, np.random.default_rng(seed))
        assert [g.innovation for g in child.genes] == [0, 1, 4]
        seen.add(child.genes[0]["width"])
    assert seen == {1.0, 9.0}  # the matching gene comes from either


def test_the_same_mutation_has_the_same_number_and_comes_back_from_json():
    innovations = Innovations()
    first = innovations.number("connection", 1, 2)
    assert innovations.number("connection", 2, 1) == first + 1
    assert Innovations.from_json(innovations.to_json()).number("connection", 1, 2) == first


def test_genomes_come_back_from_json():
    found = Networks(2, 1).minimal(np.random.default_rng(0), Networks(2, 1).innovations())
    assert Genome.from_json(found.to_json()) == found


def test_splitting_a_connection_changes_structure_and_order_stays():
    space, rng = Networks(2, 1, new_node=1.0, new_connection=1.0), np.random.default_rng(3)
    innovations = space.innovations()
    found = space.minimal(rng, innovations)
    for _ in range(8):
        found = space.mutate(found, rng, innovations)
        places = space.places(found)
        assert all(places[int(g["from"])] < places[int(g["to"])] for g in found.of_kind("connection"))
        assert len({g.innovation for g in found.genes}) == len(found.genes)
    assert len(found.of_kind("node")) > 3


def test_far_genomes_are_species_of_their_own_and_share_children():
    speciation = Speciation(by_width, threshold=1.0)
    population = [genome(0, 1, width=w) for w in (1.0, 1.1, 9.0)]
    fitness = [1.0, 2.0, 3.0]
    members = speciation.assign(population, fitness)
    assert sorted(map(sorted, members.values())) == [[0, 1], [2]]
    quotas = speciation.quotas(members, fitness, 10)
    assert sum(quotas.values()) == 10
    assert quotas[next(n for n, m in members.items() if m == [2])] > 5


def test_a_stale_species_has_no_children_unless_it_has_the_best():
    speciation = Speciation(by_width, threshold=1.0, patience=2)
    population, fitness = [genome(0, width=1.0), genome(0, width=9.0)], [1.0, 3.0]
    for _ in range(4):
        members = speciation.assign(population, fitness)
    quotas = speciation.quotas(members, fitness, 6)
    assert list(quotas.values()) == [6]
