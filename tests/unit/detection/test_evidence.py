"""The inspector's evidence against its slow twin in numpy, on pictures; and what a robot's body is suspected of."""

from dataclasses import replace

import numpy as np
import pytest

from edgekin.detection.deviations import suspects_of
from edgekin.detection.evidence import whiten
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
FREER = 2.0  # are estimates than evidence


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


def of_upper_arm(settings):
    """The link that is bent: any turn of it."""
    return tuple(h for h in settings.hypotheses if h.part == "upper_arm" and len(h.deviations) == 3)


class Twin:
    """Means over pictures of a pose, whitened, and sums over poses, as engines/inspect/evidence.c says, of the only
    hypothesis and of a lag."""

    def __init__(self, config):
        (self.hypothesis,) = config.hypotheses
        self.config, self.cells = config, []
        self.prior = (config.prior[list(self.hypothesis.deviations)], np.array([config.lag_prior]))
        self.limits = ((-np.inf, np.inf), (0, 3 * config.lag_prior))  # pictures are late, not early

    def mean(self, pictures, window=64):
        """Return information, score, gain and velocity over pictures [(a, b, misfit - fitted, velocity), ...]; old ones
        fade."""
        out, n = [np.zeros_like(part) for part in pictures[0]], 0
        for picture in pictures:
            n = min(n + 1, window)
            out = [old + (new - old) / n for old, new in zip(out, picture, strict=True)]
        return (*out, n)

    def says(self, pictures, window=64):
        """Return information and score of a pose, for the hypothesis and for a lag; never worth more than what the
        pictures gained."""
        c = self.config
        a, b, gain, velocity, n = self.mean(pictures, window)
        spread = float(c.scale[0]) * np.sqrt(np.square(c.bias) + np.square(c.frame) / n)
        noise = c.noise_bias + c.noise_frame / n
        (information,), (score,) = whiten(a[None], (b - a @ c.mean)[None], spread, noise)
        late = np.zeros((len(b), 1))
        late[c.own_axis, 0] = -velocity
        out = []
        for subject, span in enumerate((np.eye(len(b))[:, list(self.hypothesis.deviations)], late)):
            block = span.T @ information @ span, span.T @ score
            ratio = self.ratio(*block, subject)
            worth = min(1, (1 + gain / (c.floor * noise)) / ratio) if ratio > 0 else 1
            out.append(tuple(worth * part for part in block))
        return out

    def ratio(self, a, b, subject):
        """Return the likelihood ratio, nats."""
        pulled = a + np.diag(1 / np.square(self.prior[subject]))
        x = np.clip(np.linalg.solve(pulled, b), *self.limits[subject])
        return b @ x - x @ pulled @ x / 2

    def factor(self, a, b, subject):
        """Return the logarithm of the Bayes factor: of two Gaussian integrals."""
        prior = self.prior[subject]
        return self.ratio(a, b, subject) - np.linalg.slogdet(np.eye(len(b)) + a * np.outer(prior, prior))[1] / 2

    def best(self, now, subject):
        """Return the highest of the present pose with any number of those before it."""
        total = now[subject]
        found = [self.factor(*total, subject)]
        for cell in reversed(self.cells[-32:]):
            total = tuple(x + y for x, y in zip(total, cell[subject], strict=True))
            found.append(self.factor(*total, subject))
        return max(found)

    def evidence(self, now, handicap):
        """Return that anything deviates: the logarithm of the mean of both factors."""
        return np.logaddexp(self.best(now, 0) - handicap, self.best(now, 1) - handicap) - np.log(2)


class Shown:
    """An inspector, what it says of each next picture, and that picture's part of the evidence: information, score
    around the model, what a fit gained, and the velocity, rad a frame."""

    def __init__(self, world, inspector):
        self.world, self.inspector, self.last, self.velocity = world, inspector, None, np.zeros(4)

    def __call__(self, q):
        finding = self.inspector.update(q, self.world.picture(q))
        read = q.astype(np.float32).astype(np.float64)
        if self.last is not None:
            self.velocity = self.velocity + (read - self.last - self.velocity) / 32
        self.last = read
        a, b, _ = self.inspector.look()
        return finding, (a, b, self.inspector.misfit - self.inspector.fitted, self.velocity)


def test_one_picture_says_what_the_twin_says(bent, settings):
    """Each hypothesis alone: what leads is then it, or a lag, of which a picture at rest says nothing."""
    bent.deviate({0: 5 * DEGREE, 4: -5 * DEGREE, 9: 5 * DEGREE, 11: 0.1, 17: DEGREE})
    q, handicap, compared = bent.move(1)[0], settings.handicap[0], 0
    for hypothesis in settings.hypotheses:
        twin = Twin(replace(settings, hypotheses=(hypothesis,)))
        with Inspector(bent.model, twin.config) as inspector:
            finding, picture = Shown(bent, inspector)(q)
            now = twin.says([picture])
            assert twin.best(now, 1) == 0
            assert finding.named.evidence == pytest.approx(twin.evidence(now, handicap), rel=1e-6, abs=1e-9)
            if twin.best(now, 0) > 0:
                a, b = now[0]
                pulled = a + np.diag(1 / np.square(FREER * twin.prior[0]))
                np.testing.assert_allclose(finding.named.sizes, np.linalg.solve(pulled, b), rtol=1e-6)
                compared += 1
    assert compared > 3


def test_poses_add_up_as_in_the_twin(bent, settings):
    """Forty poses, three pictures each: more than are remembered."""
    path = np.random.default_rng(5).uniform(-1.0, 1.0, (40, 4))
    twin = Twin(replace(settings, hypotheses=of_upper_arm(settings)))
    with Inspector(bent.model, twin.config) as inspector:
        show = Shown(bent, inspector)
        for q in path:
            pictures = []
            for _ in range(3):
                finding, picture = show(q)
                pictures.append(picture)
                want = twin.evidence(twin.says([picture], window=1), settings.handicap[0])
                assert finding.named.evidence == pytest.approx(want, rel=1e-6, abs=1e-9)
            twin.cells.append(twin.says(pictures))
    assert want > 50


@pytest.mark.parametrize("level", [1, 2, 3])
def test_longer_means_are_those_of_the_twin(bent, settings, level):
    """Of one pose, in more pictures than the window holds."""
    handicap, q = np.where(np.arange(4) == level, 0.2, NEVER), np.array([0.4, 0.5, -0.3, 0.2])
    twin = Twin(replace(settings, hypotheses=of_upper_arm(settings), handicap=handicap))
    frames = 3 * (WINDOWS[level] // 3 + 4) + level  # of three frames one looks at this level
    with Inspector(bent.model, twin.config) as inspector:
        show, pictures = Shown(bent, inspector), []
        for _ in range(frames):
            finding, picture = show(q)
            pictures.append(picture)
    want = twin.evidence(twin.says(pictures, WINDOWS[level]), 0.2)
    assert finding.named.evidence == pytest.approx(want, rel=1e-6)
    assert want > 1


def test_a_picture_that_does_not_improve_is_no_evidence(bent, settings):
    """The cap: what deviations gain is never more than what the fit gained."""
    with Inspector(bent.model, replace(settings, hypotheses=of_upper_arm(settings), floor=50.0)) as inspector:
        finding, (_, _, gain, _) = Shown(bent, inspector)(bent.move(1)[0])
        noise = settings.noise_bias + settings.noise_frame
        assert finding.named.evidence <= 1 + gain / (50.0 * noise)


def test_healthy_pictures_count_against_a_deviation(world, settings):
    """Every pose of an exact arm says that it is as it was."""
    world.restart(4)
    with Inspector(world.model, replace(settings, mean=np.zeros(len(settings.mean)))) as inspector:
        show = Shown(world, inspector)
        said = [show(q)[0].named.evidence for q in world.move(100)[::20]]
    assert max(said) < 0


# ---- suspects


def check_suspects(robot):
    found = suspects_of(robot)
    joints, views = len(robot.actuated), len(robot.cameras)
    assert len(found.deviations) == len(found.prior) == 4 * joints + 3 * views
    assert (found.prior > 0).all()
    assert [np.linalg.norm(d.axis) for d in found.deviations] == pytest.approx([1.0] * len(found.deviations))
    rolls = 0
    for number, joint in enumerate(robot.actuated):
        first, along = 4 * number, link_direction(robot, joint)
        turns, stretch = found.deviations[first:first + 3], found.deviations[first + 3]
        axes = np.array([d.axis for d in turns])
        assert [(d.kind, d.of) for d in turns] == [(TURN, joint.child)] * 3
        np.testing.assert_allclose(axes[0], joint.axis / np.linalg.norm(joint.axis), atol=1e-12)
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
        assert (stretch.kind, stretch.of) == (STRETCH, joint.child)
        np.testing.assert_allclose(stretch.axis, along, atol=1e-12)
        assert found.own_axis[number] == first
        about = [h for h in found.hypotheses if h.number == number]
        assert {h.part for h in about} == {robot.links[joint.child].name}
        assert {h.kind for h in about} == {BODY}
        assert [h.what for h in about] == ["bend"] * (len(about) - 1) + ["short"]
        across, twist = (1, 2), 0
        if abs(axes[0] @ along) <= np.sqrt(0.5):
            across, twist = (0, 2), 1
            assert abs(axes[2] @ along) < 1e-12
        assert [tuple(i - first for i in h.deviations) for h in about] == [
            (0, 1, 2), (0,), across, *([(twist,)] if twist else []), (3,)]
        rolls += not twist
    of_cameras = [h for h in found.hypotheses if h.kind == CAMERA]
    for view, hypothesis in enumerate(of_cameras):
        assert (hypothesis.what, hypothesis.part) == ("camera-bump", f"camera {view + 1}")
        assert [(found.deviations[i].kind, found.deviations[i].of) for i in hypothesis.deviations] == (
            [(CAMERA_TURN, view)] * 3)
    assert len(of_cameras) == views
    assert len({h.number for h in found.hypotheses}) == joints + views
    return rolls, joints


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
    assert check_suspects(load_robot("arm4")) == (1, 4)


def test_joints_that_are_fixed_or_slide_are_not_suspected(tmp_path):
    robot = load_robot(write(tmp_path, SLIDE))
    assert [joint.name for joint in robot.actuated] == ["j1", "j4"]
    check_suspects(robot)


def test_suspects_of_an_arm_of_seven_joints():
    pytest.importorskip("pybullet_data", reason="needs pybullet_data: pip install 'edgekin[train]'")
    assert check_suspects(load_robot("kuka_iiwa/model.urdf")) == (4, 7)


def test_suspects_of_every_camera():
    check_suspects(exact_arm()[0])


def test_what_no_deviation_explains_is_no_evidence(bent, settings):
    """Twenty poses have stripes turned to their negative, the next has none: what that says is all."""
    path = np.random.default_rng(6).uniform(-1.0, 1.0, (21, 4))
    with Inspector(bent.model, settings) as inspector:
        left = [inspector.update(q, bent.picture(q)) and inspector.fitted for q in path]
    config = replace(settings, misfit=np.array([np.mean(left)], np.float32),
                     misfit_spread=np.array([max(np.std(left), 1.0)], np.float32))
    found = []
    for striped in (True, False):
        with Inspector(bent.model, config) as inspector:
            for q in path[:-1] if striped else ():
                masks = bent.picture(q)
                masks ^= 0b00011000
                assert inspector.update(q, masks).misfit_z > config.explained
            found.append(inspector.update(path[-1], bent.picture(path[-1])))
    assert found[1].misfit_z < config.explained / 2
    assert 0 < found[0].named.evidence < 1.05 * found[1].named.evidence
