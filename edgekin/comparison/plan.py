"""The list of trainings that a comparison consists of; trainings of the same settings are one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgekin.comparison.ablations import ABLATIONS, Ablation, Variant
from edgekin.comparison.contestants import Contestant
from edgekin.comparison.settings import CompareConfig, Preset
from edgekin.models import may_have_depth
from edgekin.pieces import fingerprint
from edgekin.robot.spec import RobotSpec
from edgekin.training.settings import FEW_JOINTS, TrainConfig

#: Weights by which preset quick divides its seconds between a row and a point of a curve or an ablation.
ROW_WEIGHT, POINT_WEIGHT = 5.0, 1.0
#: More joints take longer to learn, as in edgekin.training.settings.
MANY_JOINTS_FACTOR = 2.0
#: Test samples of a slow model's curve and ablations: barely trained, ffksm takes a second for a picture.
SLOW_TEST = 50
SLOW = "it draws too slowly for preset quick; use --preset full"


@dataclass(frozen=True)
class Piece:
    """One training."""

    label: str  # for the progress
    contestant: Contestant
    config: TrainConfig  # named; budget in seconds
    key: str  # of its file: changes with whatever would change the result
    row: bool = False  # its run is kept, measured and shown


@dataclass(frozen=True)
class Bars:
    """An ablation with the trainings of its variants."""

    ablation: Ablation
    pieces: tuple[tuple[Variant, Piece], ...]


@dataclass(frozen=True)
class Plan:
    """Everything that is trained."""

    rows: dict[str, Piece]  # by contestant
    curve: dict[str, dict[int, Piece]]  # by contestant and samples
    ablations: tuple[Bars, ...]
    left_out: tuple[str, ...]

    @property
    def pieces(self) -> list[Piece]:
        """Each training once, in the order of their work."""
        every = [*self.rows.values(), *(p for points in self.curve.values() for p in points.values()),
                 *(p for bars in self.ablations for _, p in bars.pieces)]
        return list({piece.key: piece for piece in every}.values())


class _Planner:
    """Makes pieces; a run that is given takes the place of its row's training."""

    def __init__(self, config: CompareConfig, preset: Preset, robot: RobotSpec, sha256: str) -> None:
        self.config, self.preset, self.sha256 = config, preset, sha256
        self.joints_factor = MANY_JOINTS_FACTOR if len(robot.actuated) > FEW_JOINTS else 1.0
        self.seconds_per_weight = 0.0

    def piece(self, who: Contestant, samples: int, label: str, settings: Mapping[str, Any], row: bool = False) -> Piece:
        entry = (who.full_s if row else who.short_s) * self.joints_factor
        weight = ROW_WEIGHT if row else POINT_WEIGHT
        seconds = weight * self.seconds_per_weight if self.preset.whole_s is not None else entry
        budget = {} if "steps" in settings else {"budget_s": round(max(0.1, seconds * self.config.budget), 2)}
        test = self.preset.test if row or not who.slow else min(SLOW_TEST, self.preset.test)
        made = TrainConfig(**{
            "robot": self.config.robot, "model": who.model, "protocol": "uniform", "samples": samples,
            "test_samples": test, "seed": self.config.seed,
            **({"depth": True} if row and may_have_depth(who.model) else {}), **who.settings, **budget, **settings})
        made = replace(made, batch=min(made.batch_size, samples))
        changing = fingerprint(asdict(replace(made, robot="", name=None)), row, self.sha256)
        key = f"{who.model}-{samples}-{changing}"
        return Piece(label, who, replace(made, name=key).validated(), key, row)

    def plan(self, who: list[Contestant], bars: list[Ablation], left_out: list[str]) -> Plan:
        preset = self.preset
        # The slow ones first: they are what the others would wait for.
        first = sorted(who, key=lambda c: not c.slow)
        rows = {c.name: self.piece(c, preset.train, c.name, {}, row=True) for c in first}
        curve = {c.name: {n: self.piece(c, n, f"{c.name}, {n} samples", {}) for n in preset.points}
                 for c in who if preset.slow or not c.slow}
        by_name = {c.name: c for c in who}
        ablations = tuple(Bars(a, tuple(
            (v, self.piece(by_name[a.model], preset.ablated, f"{a.model}, {a.name}: {v.label}", v.settings))
            for v in a.first(preset.variants))) for a in bars)
        return Plan(rows, curve, ablations, tuple(left_out))


def make_plan(config: CompareConfig, preset: Preset, robot: tuple[RobotSpec, str], who: list[Contestant]) -> Plan:
    """Return the trainings of a comparison.

    Args:
        config: validated.
        preset: the one that it names.
        robot: and its hash.
        who: is compared.
    """
    by_name = {c.name: c for c in who}
    slow = {c.name for c in who if c.slow and not preset.slow}
    why = {id(a): SLOW if a.model in slow else a.missing(by_name) for a in ABLATIONS}
    left = [*(f"the curve of {name}: {SLOW}" for name in slow),
            *(f"ablation {a.name}, {a.model}: {why[id(a)]}" for a in ABLATIONS if why[id(a)])]
    bars = [a for a in ABLATIONS if not why[id(a)]]
    planner = _Planner(config, preset, *robot)
    if preset.whole_s is not None:
        pieces = planner.plan(who, bars, []).pieces
        weights = sum(ROW_WEIGHT if p.row else POINT_WEIGHT for p in pieces if not (p.row and p.label in config.runs))
        planner.seconds_per_weight = preset.whole_s / max(weights, 1.0)
    return planner.plan(who, bars, left)
