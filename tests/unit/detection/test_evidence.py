"""The inspector's evidence against its slow twin in numpy, on pictures; and what a robot's body is suspected of."""

from dataclasses import replace

import numpy as np
import pytest

from edgekin.detection.deviations import suspects_of
from edgekin.detection.evidence import ratios, whiten
from edgekin.detection.looks import first_config
from edgekin.robot import load_robot
from edgekin.robot.damage import link_direction
from edgekin.runtime.inspector import Inspector
from edgekin.runtime.inspector_config import BODY, CAMERA, CAMERA_TURN, STRETCH, TURN
from tests.exact_arm import CAMERA_HZ, exact_arm
from tests.unit.robots import BOX, write

DEGREE = np.pi / 180
NEVER = 1e6
WINDOWS = (1, 4, 16, 64)


@pytest.fixture
def bent(world):
    world.restart(3)
    world.deviate({4: 3 * DEGREE, 17: -0.5 * DEGREE})
    return world


@pytest.fixture(scope="module")
def settings(world):
    """Settings with nothing round: what differs from deviation to deviation is seen in what comes out."""
    rng, config = np.random.default_rng(0), first_config(world.robot, CAMERA_HZ)
    n = len(config.deviations)
    return replace(config, mean=rng.normal(scale=1e-3, size=n), bias=rng.uniform(2e-3, 6e-3, n),
                   frame=rng.uniform(1e-3, 3e-3, n), scale=np.array([1.3], np.float32), noise_bias=0.4,
                   noise_frame=0.7, misfit=np.array([1e4], np.float32), handicap=np.array([0.3, NEVER, NEVER, NEVER]))


class Twin:
    """Means over pictures of a pose, whitened, and sums over poses, as engines/inspect/evidence.c says."""

    def __init__(self, config):
        self.config, self.cells = config, []

    def mean(self, pictures, window=64):
        """Return information, score and gain over pictures [(a, b, misfit - fitted), ...]; old ones fade."""
        out, n = [np.zeros_like(part) for part in pictures[0]], 0
        for picture in pictures:
            n = min(n + 1, window)
            out = [old + (new - old) / n for old, new in zip(out, picture, strict=True)]
        return (*out, n)

    def white(self, pictures, window=64):
        """Return what a pose says: information, score, and the most that any hypothesis may gain."""
        c = self.config
        a, b, gain, n = self.mean(pictures, window)
        spread = float(c.scale[0]) * np.sqrt(np.square(c.bias) + np.square(c.frame) / n)
        noise = c.noise_bias + c.noise_frame / n
        information, score = whiten(a[None], (b - a @ c.mean)[None], spread, noise)
        return information[0], score[0], 0.5 * gain / (c.floor * noise)

    def ratio(self, a, b, cap, hypothesis):
        free = len(hypothesis.deviations)
        ratio = ratios(a[None], b[None], (hypothesis,), self.config.prior)[0, 0] + free / 2
        return min(ratio, 1 + 2 * cap) - free / 2

    def best(self, now, hypothesis):
        """Return the highest ratio of the present pose with any number of those before it."""
        found, total = [self.ratio(*now, hypothesis)], now
        for cell in reversed(self.cells[-32:]):
            total = tuple(x + y for x, y in zip(total, cell, strict=True))
            found.append(self.ratio(*total, hypothesis))
        return max(found)


def judge(inspector, q, masks):
    """Return the picture's part of the evidence: information, score around the model, and what a fit gained."""
    finding = inspector.update(q, masks)
    a, b, _ = inspector.look()
    return finding, (a, b, inspector.misfit - inspector.fitted)


def test_one_picture_says_what_the_twin_says(bent, settings):
    """Each hypothesis alone: what leads is then it, or a lag, of which a picture at rest says nothing."""
    q = bent.move(1)[0]
    masks, compared = bent.picture(q), 0
    for hypothesis in settings.hypotheses:
        config = replace(settings, hypotheses=(hypothesis,))
        with Inspector(bent.model, config) as inspector:
            finding, picture = judge(inspector, q, masks)
            twin = Twin(config)
            a, b, cap = twin.white([picture])
            want = twin.ratio(a, b, cap, hypothesis) - config.handicap[0]
            lag = -0.5 - config.handicap[0]
            assert finding.named.evidence == pytest.approx(max(want, lag), rel=1e-6, abs=1e-9)
            if want > 0:
                free = list(hypothesis.deviations)
                part = a[np.ix_(free, free)] + np.diag(1 / np.square(config.prior[free]))
                np.testing.assert_allclose(finding.named.sizes, np.linalg.solve(part, b[free]), rtol=1e-6)
                compared += 1
    assert compared > 3


def show(world, inspector, q):
    """Judge the next picture at a pose; return as `judge` does."""
    return judge(inspector, q, world.picture(q))


def test_poses_add_up_as_in_the_twin(bent, settings):
    """Forty poses, three pictures each: more than are remembered."""
    path = np.random.default_rng(5).uniform(-1.0, 1.0, (40, 4))
    hypothesis = settings.hypotheses[3]  # of the link that is bent
    config = replace(settings, hypotheses=(hypothesis,))
    twin = Twin(config)
    with Inspector(bent.model, config) as inspector:
        for q in path:
            pictures = []
            for _ in range(3):
                finding, picture = show(bent, inspector, q)
                pictures.append(picture)
                want = twin.best(twin.white([picture], window=1), hypothesis) - config.handicap[0]
                assert finding.named.evidence == pytest.approx(max(want, 0.0), rel=1e-6, abs=1e-9)
            twin.cells.append(twin.white(pictures))
    assert want > 50


@pytest.mark.parametrize("level", [1, 2, 3])
def test_longer_means_are_those_of_the_twin(bent, settings, level):
    """Of one pose, in more pictures than the window holds."""
    window, hypothesis = WINDOWS[level], settings.hypotheses[3]
    handicap = np.where(np.arange(4) == level, 0.2, NEVER)
    config = replace(settings, hypotheses=(hypothesis,), handicap=handicap)
    twin, q = Twin(config), np.array([0.4, 0.5, -0.3, 0.2])
    frames = 3 * (window // 3 + 4) + level  # of three frames one looks at this level
    with Inspector(bent.model, config) as inspector:
        pictures = []
        for _ in range(frames):
            finding, picture = show(bent, inspector, q)
            pictures.append(picture)
    want = twin.ratio(*twin.white(pictures, window), hypothesis) - 0.2
    assert finding.named.evidence == pytest.approx(want, rel=1e-6)
    assert want > 1


def test_a_picture_that_does_not_improve_is_no_evidence(bent, settings):
    """The cap: what deviations gain is never more than what the fit gained."""
    with Inspector(bent.model, replace(settings, hypotheses=settings.hypotheses[3:4], floor=50.0)) as inspector:
        finding, (_, _, gain) = show(bent, inspector, bent.move(1)[0])
        noise = settings.noise_bias + settings.noise_frame
        assert finding.named.evidence <= 1 + gain / (50.0 * noise)


# ---- suspects


def check_suspects(robot):
    found = suspects_of(robot)
    joints, views = len(robot.actuated), len(robot.cameras)
    assert len(found.deviations) == len(found.prior) == 4 * joints + 3 * views
    assert len(found.hypotheses) == 3 * joints + views
    assert (found.prior > 0).all()
    assert [np.linalg.norm(d.axis) for d in found.deviations] == pytest.approx([1.0] * len(found.deviations))
    for number, joint in enumerate(robot.actuated):
        turns, stretch = found.deviations[4 * number:4 * number + 3], found.deviations[4 * number + 3]
        axes = np.array([d.axis for d in turns])
        assert [(d.kind, d.of) for d in turns] == [(TURN, joint.child)] * 3
        np.testing.assert_allclose(axes[0], joint.axis / np.linalg.norm(joint.axis), atol=1e-12)
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
        assert (stretch.kind, stretch.of) == (STRETCH, joint.child)
        np.testing.assert_allclose(stretch.axis, link_direction(robot, joint), atol=1e-12)
        assert found.own_axis[number] == 4 * number
        bend, own, short = found.hypotheses[3 * number:3 * number + 3]
        assert {h.part for h in (bend, own, short)} == {robot.links[joint.child].name}
        assert {(h.kind, h.number) for h in (bend, own, short)} == {(BODY, number)}
        first = 4 * number
        assert (bend.deviations, own.deviations, short.deviations) == (
            (first, first + 1, first + 2), (first,), (first + 3,))
    for view, hypothesis in enumerate(found.hypotheses[3 * joints:]):
        assert (hypothesis.what, hypothesis.part, hypothesis.kind) == ("camera-bump", f"camera {view + 1}", CAMERA)
        assert [(found.deviations[i].kind, found.deviations[i].of) for i in hypothesis.deviations] == (
            [(CAMERA_TURN, view)] * 3)
    assert len({h.number for h in found.hypotheses}) == joints + views


SLIDE = f"""<robot name="slide">
  <link name="base">{BOX}</link><link name="arm">{BOX}</link><link name="bracket">{BOX}</link>
  <link name="slide">{BOX}</link><link name="hand">{BOX}</link>
  <joint name="j1" type="revolute"><parent link="base"/><child link="arm"/><origin xyz="0 0 0.2"/>
    <axis xyz="0 3 4"/><limit lower="-1" upper="1" effort="1" velocity="1"/></joint>
  <joint name="j2" type="fixed"><parent link="arm"/><child link="bracket"/><origin xyz="0 0 0.4"/></joint>
  <joint name="j3" type="prismatic"><parent link="bracket"/><child link="slide"/><axis xyz="1 0 0"/>
    <limit lower="0" upper="0.1" effort="1" velocity="1"/></joint>
  <joint name="j4" type="continuous"><parent link="slide"/><child link="hand"/><axis xyz="0 0 1"/></joint>
</robot>"""


def test_suspects_of_the_built_in_arm():
    check_suspects(load_robot("arm4"))


def test_joints_that_are_fixed_or_slide_are_not_suspected(tmp_path):
    robot = load_robot(write(tmp_path, SLIDE))
    assert [joint.name for joint in robot.actuated] == ["j1", "j4"]
    check_suspects(robot)


def test_suspects_of_an_arm_of_seven_joints():
    pytest.importorskip("pybullet_data", reason="needs pybullet_data: pip install 'edgekin[train]'")
    check_suspects(load_robot("kuka_iiwa/model.urdf"))


def test_suspects_of_every_camera():
    check_suspects(exact_arm()[0])


def test_what_no_deviation_explains_is_no_evidence(bent, settings):
    """Twenty poses have stripes turned to their negative, the next has none: what that says is all."""
    path = np.random.default_rng(6).uniform(-1.0, 1.0, (21, 4))
    with Inspector(bent.model, settings) as inspector:
        left = [judge(inspector, q, bent.picture(q))[0] and inspector.fitted for q in path]
    config = replace(settings, misfit=np.array([np.mean(left)], np.float32),
                     misfit_spread=np.array([max(np.std(left), 1.0)], np.float32))
    found = []
    for striped in (True, False):
        with Inspector(bent.model, config) as inspector:
            for q in path[:-1] if striped else ():
                masks = bent.picture(q)
                masks ^= 0b00011000
                assert inspector.update(q, masks).misfit_z > config.explained
            found.append(judge(inspector, path[-1], bent.picture(path[-1]))[0])
    assert found[1].misfit_z < config.explained / 2
    assert 0 < found[0].named.evidence < 1.05 * found[1].named.evidence
