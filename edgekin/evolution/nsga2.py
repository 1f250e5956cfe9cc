"""NSGA-II with hard budgets: what exceeds one is worse than whatever keeps them all.

Source: Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II (2002); section VI for constraints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """A candidate as selection sees it."""

    objectives: tuple[float, ...]  # all to be made small
    excess: float = 0.0  # by how much the budgets are exceeded; 0: they are kept


def dominates(a: Point, b: Point) -> bool:
    """Tell whether a is better: it keeps the budgets and b does not, exceeds them by less, or is nowhere worse."""
    if a.excess > 0 or b.excess > 0:
        return a.excess < b.excess
    pairs = list(zip(a.objectives, b.objectives, strict=True))
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


def fronts(points: Sequence[Point]) -> list[list[int]]:
    """Return the indices front by front: of each, nothing outside the fronts before it is better."""
    beaten_by = {i: sum(dominates(q, p) for q in points) for i, p in enumerate(points)}
    out: list[list[int]] = []
    while beaten_by:
        front = [i for i, n in beaten_by.items() if n == 0]
        out.append(front)
        for i in front:
            del beaten_by[i]
        for i in beaten_by:
            beaten_by[i] -= sum(dominates(points[j], points[i]) for j in front)
    return out


def crowding(points: Sequence[Point], front: Sequence[int]) -> dict[int, float]:
    """Return how much room each index of a front has to its neighbours; infinite at the ends of an objective."""
    room = dict.fromkeys(front, 0.0)
    for k in range(len(points[front[0]].objectives)):
        along = sorted(front, key=lambda i: points[i].objectives[k])
        span = points[along[-1]].objectives[k] - points[along[0]].objectives[k]
        room[along[0]] = room[along[-1]] = float("inf")
        for before, i, after in zip(along, along[1:], along[2:], strict=False):
            if span > 0:
                room[i] += (points[after].objectives[k] - points[before].objectives[k]) / span
    return room


def ordered(points: Sequence[Point]) -> list[int]:
    """Return the indices, the best first: by front, and within one by room."""
    out: list[int] = []
    for front in fronts(points):
        room = crowding(points, front)
        out += sorted(front, key=lambda i: -room[i])
    return out
