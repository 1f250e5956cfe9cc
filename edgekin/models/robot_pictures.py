"""What a model that carries its robot takes and gives."""

from __future__ import annotations

from dataclasses import dataclass

from edgekin.robot.spec import RobotSpec


@dataclass(frozen=True)
class RobotPictures:
    """Joints (J,) rad -> pictures (V, H, W) of a robot's cameras."""

    robot: RobotSpec  # its tree, cameras and convention; its geometry is not used

    @property
    def n_joints(self) -> int:
        """Joint angles taken."""
        return len(self.robot.actuated)

    @property
    def n_views(self) -> int:
        """Pictures given."""
        return len(self.robot.cameras)

    @property
    def height(self) -> int:
        """Of a picture, px."""
        return self.robot.cameras[0].height

    @property
    def width(self) -> int:
        """Of a picture, px."""
        return self.robot.cameras[0].width
