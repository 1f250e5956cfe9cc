"""Robots: URDF to RobotSpec, forward kinematics, cameras, damage. Numpy only; nothing here imports PyBullet."""

from __future__ import annotations

from edgekin.robot.damage import Damage, apply_damage, parse_damage
from edgekin.robot.files import robot_sha256, save_robot
from edgekin.robot.kinematics import link_poses
from edgekin.robot.loading import load_robot, pybullet_data_folder
from edgekin.robot.options import RobotOptions, published_options
from edgekin.robot.spec import Camera, Joint, Link, RobotSpec

__all__ = ["Camera", "Damage", "Joint", "Link", "RobotOptions", "RobotSpec", "apply_damage", "link_poses", "load_robot",
           "parse_damage", "published_options", "pybullet_data_folder", "robot_sha256", "save_robot"]
