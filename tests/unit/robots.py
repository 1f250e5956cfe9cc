"""Robots that the tests share."""

import os
from pathlib import Path

import pytest

BOX = '<visual><geometry><box size="0.1 0.1 0.4"/></geometry></visual>'
URDF = f"""<robot name="two">
  <link name="base">{BOX}</link><link name="arm">{BOX}</link>
  <joint name="j" type="revolute"><parent link="base"/><child link="arm"/><origin xyz="0 0 0.2"/><axis xyz="0 1 0"/>
    <limit lower="-1" upper="1" effort="1" velocity="1"/></joint>
</robot>"""


def write(folder, text, name="robot.urdf"):
    """Write a text file and return its path as load_robot takes it."""
    path = folder / name
    path.write_text(text)
    return str(path)


def seed_arm():
    """Return the path of the reference arm's URDF, or skip."""
    default = Path(__file__).resolve().parents[3] / "shared" / "robots" / "seed_arm" / "seed_arm.urdf"
    path = Path(os.environ.get("EDGEKIN_SEED_ARM", default))
    if not path.exists():
        pytest.skip(f"reference arm not found at {path}: set EDGEKIN_SEED_ARM to its URDF")
    return str(path)
