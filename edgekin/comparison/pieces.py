"""The pieces of a comparison on disk: each finished training is a file, so that what was interrupted goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekin.comparison.plan import Piece
from edgekin.errors import ConfigError, EdgekinError
from edgekin.machine import revision
from edgekin.pieces import PIECES, PieceStore
from edgekin.robot import robot_sha256
from edgekin.training.run import Run, load_run
from edgekin.training.settings import runs_under
from edgekin.training.train import resume, train

RUNS = "runs"
SCHEMA = "edgekin.compare-state/1"

#: (stage, share of it that is done)
Report = Callable[[str, float], None]


class Store(PieceStore):
    """The folder of a comparison.

    Args:
        folder: made where it is missing.
        identity: what a comparison must share with the one in the folder to go on with it.
        force: begin again whatever lies there.

    Raises:
        ConfigError: the folder holds another comparison, or something else, or cannot be written.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], force: bool) -> None:
        super().__init__(folder, "comparison", SCHEMA, identity, force, (PIECES, RUNS))

    def done(self, piece: Piece) -> dict[str, Any] | None:
        """Return the metrics of a piece whose training is finished and, where it is a row's, whose run is there."""
        found = self.read(piece.key)
        return found if found is not None and (not piece.row or self.run(piece) is not None) else None

    def trained(self, piece: Piece, report: Report) -> dict[str, Any]:
        """Train a piece, or go on with its training; return the metrics (schema edgekin.train/1).

        Raises:
            KeyboardInterrupt: interrupted; the same call later goes on from the last checkpoint.
        """
        for left in (self.folder / RUNS).glob(f".{piece.key}.*"):  # of a process that was killed while it began
            shutil.rmtree(left, ignore_errors=True)
        with runs_under(self.folder / RUNS):
            metrics = self._trained(piece, report)
        if not piece.row:  # scores are all that is wanted
            shutil.rmtree(self.folder / RUNS / piece.key, ignore_errors=True)
        return self.write(piece.key, metrics)

    def _trained(self, piece: Piece, report: Report) -> dict[str, Any]:
        """Within `runs_under`: finish what was begun, else begin."""
        try:
            begun = load_run(piece.key, finished=False)
            return begun.metrics if begun.finished else resume(piece.key, report).metrics
        except EdgekinError:  # not begun, or damaged
            return train(piece.config, force=True, report=report).metrics

    def run(self, piece: Piece) -> Run | None:
        """Return the finished run of a row, or None."""
        try:
            return load_run(self.folder / RUNS / piece.key)
        except EdgekinError:
            return None


def given_run(model: str, path: str, robot: str, sha256: str) -> Run:
    """Return a finished run that is to stand for a model.

    Args:
        model: a key of edgekin.models.MODELS.
        path: its folder or name.
        robot: the name of the comparison's robot.
        sha256: and its hash.

    Raises:
        ConfigError: no finished run, of another model, or of another robot or camera.
    """
    run = load_run(path)
    found = run.config.get("model", {}).get("name")
    if found != model:
        raise ConfigError(f"run {run.path} is of model {found}, not {model}", f"Give --run {found}={path}")
    if robot_sha256(run.robot) != sha256:
        raise ConfigError(f"run {run.path} is of another robot or camera ({run.robot.name}) than {robot}",
                          "Compare on the robot that it was trained for")
    return run


def provenance(parts: list[dict[str, Any]]) -> list[str]:
    """Return the revisions that the parts of a result were made at, this one last."""
    here = revision()
    return [*sorted({str(p["revision"]) for p in parts if p.get("revision")} - {here}), here]
