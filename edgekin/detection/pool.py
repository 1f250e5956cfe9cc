"""What pictures of several poses say together about how a body has changed, and the fewest changes that say it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgekin.detection.evidence import whiten
from edgekin.runtime.findings import Named, change_of
from edgekin.runtime.inspector_config import InspectorConfig

Float = NDArray[np.float64]
#: Nats that one more free number must be worth: what is hardly seen of a turn stays as it was.
WORTH = 3.0
#: Hypotheses that may hold at once.
MOST = 3
#: What is named where a link is not there.
LOST = "lost"


@dataclass(frozen=True)
class Change:
    """How a body has changed."""

    hypotheses: tuple[int, ...]  # of the inspector's, the most telling first
    sizes: Float  # (n,) of all deviations, rad or share
    named: tuple[Named, ...]  # each in words
    lost: int = 0  # the link that is not there any more, with all beyond; 0: none
    worse: float = 1.0  # times as high as of the model is the misfit of a body that has changed so

    def __bool__(self) -> bool:
        """Whether anything has changed."""
        return bool(self.sizes.any()) or self.lost > 0

    def without(self, link: int, named: Named) -> Change:
        """Return this change and the loss of a link, in words `named`."""
        return replace(self, named=(*(one for one in self.named if one.what != LOST), named), lost=link)

    def on_top_of(self, before: Change | None) -> Change:
        """Return this change of a body that may have lost a link before."""
        if not before:
            return self
        lost = (one for one in before.named if one.what == LOST)
        return replace(self, named=(*self.named, *lost), lost=before.lost)


class Pool:
    """The mean over pictures of a pose, which share the model's error, and the sum over poses, which do not: the
    measurement model of engines/inspect/evidence.c, kept whole instead of by hypothesis.

    Args:
        config: of the inspector that looks.
    """

    def __init__(self, config: InspectorConfig) -> None:
        self._config = config
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        n = len(self._config.deviations)
        self._poses = np.zeros((n, n)), np.zeros(n)
        self._open_pose(None)

    def _open_pose(self, q: Float | None) -> None:
        n = len(self._config.deviations)
        self._anchor, self._count, self._pose = q, 0, (np.zeros((n, n)), np.zeros(n))

    def add(self, q: Float, information: Float, score: Float) -> None:
        """Add a picture.

        Args:
            q: (J,) rad.
            information: (n, n), as `Inspector.look` and `Inspector.measure` have it.
            score: (n,) around the model: that around a body of other sizes plus information @ sizes.
        """
        if self._anchor is None:
            self._open_pose(np.array(q, np.float64))
        elif np.abs(q - self._anchor).max() >= self._config.cell_rad:
            self._poses = self._with_pose()
            self._open_pose(np.array(q, np.float64))
        self._count += 1
        self._pose[0][:] += information
        self._pose[1][:] += score - information @ self._config.mean

    def _with_pose(self) -> tuple[Float, Float]:
        """The sums over poses, with the present one."""
        if not self._count:
            return self._poses
        c, n = self._config, self._count
        spread = np.sqrt(np.square(c.bias) + np.square(c.frame) / n)
        a, b = whiten(self._pose[0] / n, self._pose[1] / n, spread, c.noise_bias + c.noise_frame / n)
        return self._poses[0] + a, self._poses[1] + b

    def change(self) -> Change:
        """Return what explains the pool best: one hypothesis where it is worth its numbers, and others where each adds
        as much evidence as an alarm takes."""
        a, b = self._with_pose()
        chosen: tuple[int, ...] = ()
        worth, needed = 0.0, 0.0
        while len(chosen) < MOST:
            rest = [h for h in range(len(self._config.hypotheses)) if h not in chosen]
            worths = [self._worth(a, b, (*chosen, h)) for h in rest]
            best = int(np.argmax(worths))
            if worths[best] - worth <= needed:
                break
            chosen, worth, needed = (*chosen, rest[best]), worths[best], self._config.threshold
        return self._change(a, b, chosen)

    def _change(self, a: Float, b: Float, chosen: tuple[int, ...]) -> Change:
        sizes, spreads, free = np.zeros(len(b)), np.zeros(len(b)), self._free(chosen)
        if free:
            inverse = np.linalg.inv(self._pulled(a, free))
            sizes[free], spreads[free] = inverse @ b[free], np.sqrt(np.diag(inverse))
        about = [self._config.hypotheses[h] for h in chosen]
        named = tuple(change_of(self._config, h, sizes[list(h.deviations)], spreads[list(h.deviations)]) for h in about)
        return Change(chosen, sizes, named)

    def _free(self, chosen: Iterable[int]) -> list[int]:
        return sorted({i for h in chosen for i in self._config.hypotheses[h].deviations})

    def _pulled(self, a: Float, free: list[int]) -> Float:
        """Information of what is free, with the prior's pull."""
        pulled: Float = a[np.ix_(free, free)] + np.diag(1 / np.square(self._config.prior[free]))
        return pulled

    def _worth(self, a: Float, b: Float, chosen: tuple[int, ...]) -> float:
        free = self._free(chosen)
        return 0.5 * float(b[free] @ np.linalg.solve(self._pulled(a, free), b[free])) - WORTH * len(free)
