"""Robots: URDF to RobotSpec, forward kinematics, cameras, damage. Numpy only; nothing here imports PyBullet."""

from __future__ import annotations

from edgekin.robot.damage import apply_damage
from edgekin.robot.events import Event, parse_event, parse_events
from edgekin.robot.files import robot_sha256, save_robot
from edgekin.robot.kinematics import link_poses
from edgekin.robot.loading import load_robot, pybullet_data_folder
from edgekin.robot.options import RobotOptions, published_options
from edgekin.robot.spec import Camera, Joint, Link, RobotSpec

__all__ = ["Camera", "Event", "Joint", "Link", "RobotOptions", "RobotSpec", "apply_damage", "link_poses", "load_robot",
           "parse_event", "parse_events", "published_options", "pybullet_data_folder", "robot_sha256", "save_robot"]
