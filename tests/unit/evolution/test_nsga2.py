"""Selection: fronts, room, and budgets as constraints."""

from hypothesis import given, settings
from hypothesis import strategies as st

from edgekin.evolution.nsga2 import Point, crowding, dominates, fronts, ordered

points = st.lists(st.builds(Point, st.tuples(st.integers(0, 5), st.integers(0, 5)).map(lambda t: tuple(map(float, t))),
                            st.sampled_from([0.0, 0.0, 0.5, 2.0])), min_size=1, max_size=14)


def test_whoever_keeps_the_budgets_is_better():
    cheap, dear, dearer = Point((9.0, 9.0)), Point((0.0, 0.0), 0.1), Point((0.0, 0.0), 0.2)
    assert dominates(cheap, dear)
    assert dominates(dear, dearer)
    assert not dominates(dear, cheap)


@settings(deadline=None)
@given(points)
def test_fronts_hold_everyone_once_and_nobody_is_beaten_within_one(found):
    parts = fronts(found)
    assert sorted(i for part in parts for i in part) == list(range(len(found)))
    for number, part in enumerate(parts):
        assert not any(dominates(found[i], found[j]) for i in part for j in part)
        if number:
            assert all(any(dominates(found[i], found[j]) for i in parts[number - 1]) for j in part)


def test_the_ends_of_a_front_have_all_the_room():
    found = [Point((0.0, 4.0)), Point((1.0, 3.0)), Point((1.1, 2.9)), Point((4.0, 0.0))]
    room = crowding(found, range(4))
    assert room[0] == room[3] == float("inf")
    assert room[2] > room[1] > 0.0


@settings(deadline=None)
@given(points)
def test_the_order_begins_with_someone_that_nobody_beats(found):
    first = found[ordered(found)[0]]
    assert not any(dominates(p, first) for p in found)
