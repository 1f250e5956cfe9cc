"""Everything that can go wrong with an arm here, as one table: parsing, listing and the documentation read it."""

from __future__ import annotations

from dataclasses import dataclass

#: What a verdict should call it.
BODY, ENCODER, CAMERA = "body damage", "encoder fault", "camera moved"
APPEARANCE, SENSOR = "occlusion/appearance", "sensor fault"
CLASSES = (BODY, ENCODER, CAMERA, APPEARANCE, SENSOR)
LINK, JOINT = "LINK", "JOINT"


@dataclass(frozen=True)
class Kind:
    """One kind of event: how it is written, what its number means and what it should be called."""

    name: str
    target: str  # LINK, JOINT, or "" where it has none
    number: str  # DEG, PERCENT, ... as written in its form; "" where it has none
    what: str  # what happens, and what the number means
    expected: str  # one of CLASSES
    acts_on: str  # scene (the RobotSpec), motion, encoder, picture or timing
    sizes: tuple[float, ...] = ()  # tried unless others are asked for
    most: float = 0.0  # largest size
    signed: bool = False  # sizes below zero mean something, too
    damage: bool = True  # False: a nuisance, never to be called body damage
    must_alarm: bool = True  # False: no alarm at all is right, too

    @property
    def form(self) -> str:
        """How it is written: `bend:LINK:DEG`."""
        return ":".join(part for part in (self.name, self.target, self.number) if part)

    @property
    def example(self) -> str:
        """An event of this kind that can be parsed, for any robot with two joints."""
        parts = [self.name, *(["2"] if self.target else []), *([f"{self.sizes[0]:g}"] if self.number else [])]
        return ":".join(parts) + "@5"


_SCENE, _MOTION, _ENCODER, _PICTURE, _TIMING = "scene", "motion", "encoder", "picture", "timing"

_TABLE = (
    Kind("bend", LINK, "DEG", "the link and all beyond turn by DEG about its near end", BODY, _SCENE,
         (2.0, 5.0, 10.0, 20.0), 180.0, signed=True),
    Kind("twist", LINK, "DEG", "the link and all beyond turn by DEG about the link's own direction", BODY, _SCENE,
         (5.0, 10.0, 20.0), 180.0, signed=True),
    Kind("short", LINK, "PERCENT", "the link is PERCENT shorter", BODY, _SCENE, (5.0, 10.0, 20.0), 99.0),
    Kind("lost", LINK, "", "the link and all beyond are gone", BODY, _SCENE),
    Kind("seized", JOINT, "", "the joint stays where it is, whatever is commanded", BODY, _MOTION),
    Kind("backlash", JOINT, "DEG", "what hangs on the joint has DEG of play against its motor and encoder", BODY,
         _MOTION, (2.0, 5.0), 90.0),
    Kind("encoder-bias", JOINT, "DEG", "the encoder reads DEG too much", ENCODER, _ENCODER, (1.0, 3.0, 5.0), 180.0,
         signed=True),
    Kind("encoder-drift", JOINT, "DEG_PER_MIN", "the encoder's error grows by DEG_PER_MIN", ENCODER, _ENCODER,
         (5.0, 20.0), 3600.0, signed=True),
    Kind("encoder-gain", JOINT, "PERCENT", "the encoder reads PERCENT more than the angle from zero", ENCODER, _ENCODER,
         (5.0, 10.0), 90.0, signed=True),
    Kind("mask-noise", "", "PERCENT", "PERCENT of all pixels flip, others in every frame (salt and pepper)", APPEARANCE,
         _PICTURE, (0.2, 1.0), 50.0, damage=False, must_alarm=False),
    Kind("boundary-noise", "", "PERCENT", "PERCENT of the pixels along outlines flip, others in every frame",
         APPEARANCE, _PICTURE, (2.0, 5.0, 10.0), 50.0, damage=False, must_alarm=False),
    Kind("occlusion", "", "PERCENT", "a rectangle of PERCENT of the picture stands before the arm and reads 0",
         APPEARANCE, _PICTURE, (1.0, 2.0, 5.0), 90.0, damage=False, must_alarm=False),
    Kind("lighting", "", "PERCENT", "the worst lit PERCENT of the robot's pixels are lost", APPEARANCE, _PICTURE,
         (5.0, 10.0, 20.0), 99.0, damage=False, must_alarm=False),
    Kind("tool", "", "CM", "the last link carries a box CM long at its end", APPEARANCE, _SCENE, (5.0, 10.0), 200.0,
         damage=False),
    Kind("camera-bump", "", "DEG", "a camera is turned by DEG about an axis across its view", CAMERA, _SCENE,
         (1.0, 2.0, 5.0), 90.0, damage=False),
    Kind("latency", "", "MS", "pictures show what was MS before the joint angles beside them", SENSOR, _TIMING,
         (20.0, 50.0), 2000.0, damage=False, must_alarm=False),
    Kind("jitter", "", "MS", "pictures are late by 0 to MS, another time in every frame", SENSOR, _TIMING,
         (10.0, 30.0), 2000.0, damage=False, must_alarm=False),
    Kind("frozen-camera", "", "", "the last picture is repeated for ever", SENSOR, _TIMING, damage=False),
    Kind("stale-joints", "", "", "the last joint angles are repeated for ever", SENSOR, _ENCODER, damage=False),
)
#: name -> kind, damages first.
KINDS = {kind.name: kind for kind in _TABLE}
