"""Which detectors of a bundle are verified."""

from __future__ import annotations

from edgekin.bundle import Bundle
from edgekin.errors import ConfigError
from edgekin.opening import detector_config
from edgekin.robot import RobotSpec
from edgekin.verification.inspected import Inspected
from edgekin.verification.shipped import Shipped
from edgekin.verification.subject import Subject


def subjects_of(bundle: Bundle, robot: RobotSpec, camera_hz: float) -> list[Subject]:
    """Return the bundle's detectors, the one to be verified first; those behind it stand among the baselines.

    Args:
        bundle: whose detectors.
        robot: the bundle's, with the cameras that there are.
        camera_hz: frames a second.

    Raises:
        BundleError: the bundle has no detector.
        ConfigError: none of its detectors can do with these cameras.
    """
    detector_config(bundle)
    found: list[Subject] = []
    if len(robot.cameras) == len(bundle.robot.cameras):
        if bundle.inspection:
            found.append(Inspected(bundle, camera_hz))
        found.append(Shipped(bundle, camera_hz))
    if not found:
        raise ConfigError(f"--cameras is {len(robot.cameras)}, but what is in {bundle.path} judges all of its "
                          f"{len(bundle.robot.cameras)} cameras together", "Leave --cameras out")
    return found
