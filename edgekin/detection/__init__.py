"""Damage detection: calibration of the thresholds, and the detector's numpy twin. Numpy and the C library only."""

from __future__ import annotations

from edgekin.detection.calibration import calibrate, score_dataset

__all__ = ["calibrate", "score_dataset"]
