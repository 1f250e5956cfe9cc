"""What an inspector holds to be true, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgekin.runtime.inspector_config import STRETCH, Float, Hypothesis, InspectorConfig

#: In the order of EK_SIGN_*.
SIGNS = ("deviation", "lost", "unexplained", "lag", "frozen", "stale", "offset", "stuck")
#: Cosine between a turn's axis and the link's direction from which it is a twist.
TWIST = 0.9


@dataclass(frozen=True)
class Named:
    """How a body deviates, in the words of edgekin.robot.catalogue."""

    what: str  # bend, twist, short, lost, camera-bump; lag, unexplained, frozen, stale, offset, stuck; "": not known
    part: str  # link, joint or camera; "" where there is none
    rival: str  # the part of the best other hypothesis
    undecided: bool  # part does not lead rival by enough
    evidence: float  # nats, that anything deviates
    size: float  # deg, percent (short) or frames (lag)
    spread: float  # its standard deviation
    unit: str
    sizes: tuple[float, ...]  # of the leading hypothesis' deviations, rad or share

    @property
    def interval(self) -> tuple[float, float]:
        """95% of size."""
        return self.size - 1.96 * self.spread, self.size + 1.96 * self.spread

    def __str__(self) -> str:
        if not self.what:
            return "nothing"
        size = f" {self.size:.1f} +- {1.96 * self.spread:.1f} {self.unit}" if self.unit else ""
        doubt = f", or of {self.rival}" if self.undecided and self.rival and self.rival != self.part else ""
        return f"{self.what}{' of ' if self.part else ''}{self.part}{size}{doubt}"


@dataclass(frozen=True)
class Drift:
    """How far an encoder is off, as pictures of many poses have it; a link turned about its joint looks the same."""

    joint: str
    deg: float  # that it reads too much
    spread_deg: float  # standard deviation

    @property
    def interval(self) -> tuple[float, float]:
        """95% of deg."""
        return self.deg - 1.96 * self.spread_deg, self.deg + 1.96 * self.spread_deg

    @property
    def sure(self) -> bool:
        """Whether the interval excludes that the encoder is right."""
        return self.interval[0] > 0 or self.interval[1] < 0

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        low, high = self.interval
        return {"joint": self.joint, "deg": self.deg, "low": low, "high": high}

    def __str__(self) -> str:
        return f"{self.joint} {self.deg:+.2f} +- {1.96 * self.spread_deg:.2f} deg"


def said_of(drifts: Sequence[Drift]) -> str:
    """Return a line about encoders; "" where nothing is known of any."""
    sure = [str(drift) for drift in drifts if drift.sure]
    if sure:
        return f"encoders, by pictures of many poses: {', '.join(sure)} too much"
    most = max((max(map(abs, drift.interval)) for drift in drifts), default=0.0)
    return f"encoders, by pictures of many poses: none is off by more than {most:.1f} deg" if drifts else ""


@dataclass(frozen=True)
class Finding:
    """What an inspector holds to be true after a picture; the alarm is latched, what is named goes on improving."""

    alarm: str  # one of CLASSES; "" while there is none
    sign: str  # of SIGNS: what the alarm was raised for
    alarm_frame: int  # 1 for the first picture
    frames: int
    named: Named
    misfit_z: float
    offset_rad: tuple[float, ...]  # (J,) measured - commanded
    drift_rad: tuple[float, ...]  # (J,) of encoders, as pictures of many poses have it
    drift_spread_rad: tuple[float, ...]  # (J,) standard deviation


def named_of(config: InspectorConfig, raw: Any, part: int, offset_rad: Sequence[float] = ()) -> Named:
    """Return what an ek_finding or an ek_verdict (cffi structs) says, in words.

    Args:
        config: of the inspector.
        raw: the struct.
        part: link of the sign lost, joint of offset and stuck; -1: none.
        offset_rad: (J,) measured - commanded, where known.
    """
    sign = SIGNS[raw.sign] if raw.alarm else ""
    if sign in ("unexplained", "frozen", "stale"):
        return Named(sign, "", "", False, raw.evidence, 0.0, 0.0, "", ())
    if sign == "lost":
        return Named(sign, config.links[part], "", False, raw.evidence, 0.0, 0.0, "", ())
    if sign in ("offset", "stuck"):
        # The limit is six standard deviations of the mean, or more.
        size, spread = (float(np.degrees(offset_rad[part])), float(np.degrees(config.tracking_rad[part])) / 6) \
            if offset_rad else (0.0, 0.0)
        return Named(sign, config.joints[part], "", False, raw.evidence, size, spread, "deg" if offset_rad else "", ())
    if not 0 <= raw.hypothesis < len(config.hypotheses):
        lag = raw.hypothesis == len(config.hypotheses)
        return Named("lag" if lag else "", "", "", False, raw.evidence, raw.size[0], raw.spread[0],
                     "frames" if lag else "", ())
    return _deviation(config, raw, config.hypotheses[raw.hypothesis])


def _deviation(config: InspectorConfig, raw: Any, about: Hypothesis) -> Named:
    count = len(about.deviations)
    rival = config.hypotheses[raw.rival].part if 0 <= raw.rival < len(config.hypotheses) else ""
    named = change_of(config, about, np.array(list(raw.size[0:count])), np.array(list(raw.spread[0:count])))
    return replace(named, rival=rival, undecided=bool(raw.undecided), evidence=raw.evidence)


def change_of(config: InspectorConfig, about: Hypothesis, sizes: Float, spreads: Float) -> Named:
    """Return a change by a hypothesis in words, without rival or evidence.

    Args:
        config: of the inspector.
        about: with k deviations.
        sizes: (k,) rad or share.
        spreads: (k,) their standard deviations.
    """
    kept = tuple(sizes.tolist())
    if about.what == "short":
        return Named(about.what, about.part, "", False, 0.0, -100 * float(sizes[0]), 100 * float(spreads[0]), "%", kept)
    length, count = float(np.linalg.norm(sizes)), len(sizes)
    along = sizes / length if length > 0 else np.full(count, 1 / np.sqrt(count))
    return Named(_bend_or_twist(config, about, sizes), about.part, "", False, 0.0, float(np.degrees(length)),
                 float(np.degrees(np.linalg.norm(along * spreads))), "deg", kept)


def _bend_or_twist(config: InspectorConfig, about: Hypothesis, sizes: Float) -> str:
    """A turn about the link's own direction is a twist."""
    link = config.deviations[about.deviations[0]].of
    along = [np.array(d.axis) for d in config.deviations if d.kind == STRETCH and d.of == link]
    if about.what != "bend" or not along:
        return about.what
    turn = sizes @ np.array([config.deviations[i].axis for i in about.deviations])
    return "twist" if abs(turn @ along[0]) > TWIST * np.linalg.norm(turn) else "bend"
