"""Calibration profiles (which poses, how many, which method) and the recorded calibration with its provenance."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.config import from_mapping, load_yaml
from edgekin.errors import ConfigError
from edgekin.quantization.observers import METHODS

PROFILE_SCHEMA = "edgekin.calibration-profile/1"
CALIBRATION_SCHEMA = "edgekin.calibration/1"

#: Fewer poses leave the extremes of most channels unseen.
MIN_SAMPLES = 32

#: Try every method, layer by layer, and keep what predicts the calibration poses best.
AUTO = "auto"
METHOD_NAMES = (*METHODS, AUTO)
POSES = ("auto", "train", "sobol")

#: No honest profile comes near; it bounds what a hostile one can ask to be read.
_MAX_FILE_BYTES = 1 << 22

_REMEDY = "Run: edgekin compile --int8"


@dataclass(frozen=True)
class CalibrationProfile:
    """What to calibrate on; the defaults are those of calibration/default.yaml."""

    # train: the run's training split | sobol: scrambled Sobol points over the joint limits | auto: sobol where the
    # training split is of such points, else train
    poses: str = "auto"
    samples: int = 2048  # poses, >= MIN_SAMPLES
    method: str = AUTO  # a name of METHOD_NAMES
    percentile: float = 99.99  # percent of the non-zero magnitudes that method percentile keeps
    source: str = "built-in"  # the file it was read from

    def validated(self) -> CalibrationProfile:
        """Return the profile itself; raises ConfigError, naming the source, where a value cannot be used."""
        where = f"calibration profile {self.source}"
        if self.poses not in POSES:
            raise ConfigError(f"{where}: poses is {self.poses!r}{_meant(self.poses, POSES)}",
                              f"Use one of {', '.join(POSES)}")
        if self.method not in METHOD_NAMES:
            raise ConfigError(f"{where}: method is {self.method!r}{_meant(self.method, METHOD_NAMES)}",
                              f"Use one of {', '.join(METHOD_NAMES)}")
        if self.samples < MIN_SAMPLES:
            raise ConfigError(f"{where} asks for {self.samples} poses, need >= {MIN_SAMPLES}",
                              f"Set samples (or --samples) to {MIN_SAMPLES} or more")
        if not 90.0 <= self.percentile <= 100.0:
            raise ConfigError(f"{where}: percentile is {self.percentile!r}, expected a number from 90 to 100")
        return self


def load_profile(path: Path) -> CalibrationProfile:
    """Read a calibration profile.

    Args:
        path: a YAML file; calibration/default.yaml shows every key.

    Raises:
        ConfigError: not readable, not YAML, an unknown key, or a value out of range; names the file.
    """
    content = load_yaml(path)
    schema = content.pop("schema", None)
    if schema != PROFILE_SCHEMA:
        raise ConfigError(f"calibration profile {path}: schema is {schema!r}, expected {PROFILE_SCHEMA!r}",
                          "Start from calibration/default.yaml")
    if "source" in content:
        raise ConfigError(f"calibration profile {path}: source is not for a file to say", "Leave it out")
    return from_mapping(CalibrationProfile, {**content, "source": str(path)}, f"calibration profile {path}")


def _meant(value: object, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(str(value), known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


@dataclass(frozen=True)
class LayerRange:
    """What was seen at the output of one layer, and the int8 scale chosen for it."""

    kind: str  # a key of edgekin.models.graph.KINDS
    method: str  # the observer that gave the threshold, or `search` below it
    max_abs: float  # largest magnitude seen
    threshold: float  # magnitude that maps to code 127
    scale: float  # threshold / 127


@dataclass(frozen=True)
class Calibration:
    """The ranges of a graph's activations, and where they come from."""

    layers: dict[str, LayerRange]  # layer name -> its range, in the graph's order
    method: str  # what was asked for: a name of METHOD_NAMES
    percentile: float
    poses: str  # train | sobol
    samples: int  # poses seen
    samples_sha256: str  # of the joint angles, float64 (N, J) row-major
    seed: int
    profile: str  # the profile's file, or built-in
    source: str  # the file that the poses come from, or what generated them

    @property
    def scales(self) -> dict[str, float]:
        """Layer name -> output scale: what the quantizer takes."""
        return {name: layer.scale for name, layer in self.layers.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the content of calibration.json."""
        return {"schema": CALIBRATION_SCHEMA, **asdict(self)}

    def save(self, path: Path) -> None:
        """Write calibration.json, indented for reading."""
        path.write_text(json.dumps(self.to_json(), indent=2) + "\n", encoding="utf-8")

    @staticmethod
    def load(path: Path) -> Calibration:
        """Read calibration.json; raises ConfigError where it is not what `save` writes."""
        try:
            if path.stat().st_size > _MAX_FILE_BYTES:
                raise ConfigError(f"calibration {path} has more than {_MAX_FILE_BYTES} bytes", _REMEDY)
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("schema", None) != CALIBRATION_SCHEMA:
                raise ConfigError(f"calibration {path} is not of schema {CALIBRATION_SCHEMA}", _REMEDY)
            layers = {name: LayerRange(**entry) for name, entry in content.pop("layers").items()}
            calibration = Calibration(layers=layers, **content)
            if any(not math.isfinite(v.scale) or v.scale <= 0.0 for v in layers.values()):
                raise ConfigError(f"calibration {path} holds a scale that is not positive", _REMEDY)
        except OSError as error:
            raise ConfigError(f"calibration {path} cannot be read: {error.strerror}", _REMEDY) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"calibration {path} is damaged: {error}", _REMEDY) from error
        return calibration


def samples_sha256(joint_pos: NDArray[np.float64]) -> str:
    """Return the SHA-256 of joint angles (N, J) as float64, row-major, little-endian."""
    return hashlib.sha256(np.ascontiguousarray(joint_pos, dtype="<f8").tobytes()).hexdigest()
