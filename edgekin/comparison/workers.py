"""The trainings of a comparison in several processes: each is one thread's work, so every core has one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from edgekin.comparison.pieces import Store
from edgekin.comparison.plan import Piece
from edgekin.workers import Listen as Say
from edgekin.workers import in_workers

#: Unless more are asked for: each takes half a gigabyte.
MOST_JOBS = 8
DONE = "done"  # the stage of a finished piece


@dataclass(frozen=True)
class Word:
    """What a training says on its way."""

    key: str  # of its piece
    stage: str
    share: float  # of the stage


#: Told of every word.
Listen = Callable[[Word], None]


def default_jobs() -> int:
    """Return how many trainings to run at once: one a core, up to eight; one where there is a GPU to share."""
    import torch

    return 1 if torch.cuda.is_available() else min(MOST_JOBS, len(os.sched_getaffinity(0)))


def train_pieces(store: Store, todo: list[Piece], jobs: int, listen: Listen) -> dict[str, dict[str, Any]]:
    """Train pieces, or find them done.

    Args:
        store: that keeps them.
        todo: in the order of their beginning.
        jobs: at once; 1: in this process.
        listen: called in this process.

    Returns:
        Metrics by key.

    Raises:
        EdgekinError: what the first training that failed raised; the others stop at a checkpoint.
        KeyboardInterrupt: SIGINT or SIGTERM came; all stopped at a checkpoint.
    """
    metrics = {piece.key: found for piece in todo if (found := store.done(piece)) is not None}
    for key in metrics:
        listen(Word(key, DONE, 1.0))
    left = {piece.key: piece for piece in todo if piece.key not in metrics}
    return metrics | in_workers(partial(_train, store), left, jobs, listen,
                                lambda key, result: listen(Word(key, DONE, 1.0)))


def _train(store: Store, piece: Piece, say: Say) -> dict[str, Any]:
    return store.trained(piece, lambda stage, share: say(Word(piece.key, stage, share)))
