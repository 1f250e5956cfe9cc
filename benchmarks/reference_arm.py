"""Where the reference arm's URDF lies beside a checkout."""

from __future__ import annotations

from pathlib import Path

SEED_ARM = Path(__file__).resolve().parents[2] / "shared" / "robots" / "seed_arm" / "seed_arm.urdf"
