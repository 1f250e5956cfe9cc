"""edgekin watch on a real bundle and ring: waits, reports changes, tells systemd, refuses another robot's ring."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from edgekin.bundle import load_bundle, read_known_answers
from edgekin.robot import parse_events
from edgekin.runtime.ring import RingWriter, shm_path
from edgekin.runtime.systemd import notify
from edgekin.sim.episode import Episode


class Watch:
    """edgekin watch as a service would run it: output in a pipe, a notification socket."""

    def __init__(self, folder, *args):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        (folder / "notify").unlink(missing_ok=True)
        self.socket.bind(str(folder / "notify"))
        self.heard = []
        self.child = subprocess.Popen([sys.executable, "-m", "edgekin", "watch", *map(str, args)], text=True,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify")})

    def hear(self, wanted):
        """Collect notifications until one of them begins so."""
        end = time.monotonic() + 60
        while not any(line.startswith(wanted) for line in self.heard):
            assert self.child.poll() is None, self.child.stderr.read()
            assert time.monotonic() < end, self.heard
            if select.select([self.socket], [], [], 0.1)[0]:
                self.heard += self.socket.recv(4096).decode().split("\n")

    def publish_until(self, wanted, writer, joints, packed):
        """Publish a frame every 20 ms until a notification begins so."""
        end = time.monotonic() + 60
        while not any(line.startswith(wanted) for line in self.heard):
            assert self.child.poll() is None, self.child.stderr.read()
            assert time.monotonic() < end, self.heard
            writer.publish(joints, packed)
            if select.select([self.socket], [], [], 0.02)[0]:
                self.heard += self.socket.recv(4096).decode().split("\n")

    def publish(self, writer, joints, packed, commanded):
        """Publish one frame of a motion, 20 ms after the one before, and listen."""
        assert self.child.poll() is None, self.child.stderr.read()
        writer.publish(joints, packed, commanded=commanded)
        if select.select([self.socket], [], [], 0.02)[0]:
            self.heard += self.socket.recv(4096).decode().split("\n")

    def end(self):
        self.child.send_signal(signal.SIGTERM)
        return self.child.communicate(timeout=60)


@pytest.fixture
def frames(bundle):
    """Joint angles and the mask of a frame that the bundle's model expects."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    answers = read_known_answers((bundle / "known_answers.npz").read_bytes(), "answers")
    assert manifest["target"] == "native"
    return answers["joint_pos"][0], answers["logits"][0] > 0


@pytest.fixture
def ring(frames):
    """A function that opens the ring as a robot's driver does."""
    opened = []

    def make(model_hash=b""):
        writer = RingWriter(shm_path("watch"), len(frames[0]), frames[1].shape, model_hash)
        opened.append(writer)
        return writer

    yield make
    for writer in opened:
        writer.close()
    shm_path("watch").unlink(missing_ok=True)


def test_it_waits_for_the_ring_follows_the_verdict_and_stops_clean(bundle, frames, ring, tmp_path):
    watch = Watch(tmp_path, bundle, "--ring", shm_path("watch"), "--hz", "50")
    watch.hear("READY=1")
    watch.hear("WATCHDOG=1")  # also without a ring
    writer, packed = ring(), np.packbits(frames[1], axis=-1)
    watch.hear("STATUS=unknown")
    watch.heard.clear()
    watch.hear("WATCHDOG=1")  # also without a frame: that is a verdict
    watch.publish_until("STATUS=healthy", writer, frames[0], packed)
    watch.hear("STATUS=unknown (stale)")  # the publisher is silent again
    out, err = watch.end()
    assert watch.child.returncode == 0, err
    assert "verdict: healthy at frame" in out
    assert "verdict: unknown (stale)" in out
    assert "stopped; the verdict is unknown" in out


def test_a_driver_that_starts_again_is_followed(bundle, frames, ring, tmp_path):
    watch = Watch(tmp_path, bundle, "--ring", shm_path("watch"), "--hz", "50")
    shm_path("watch").write_bytes(b"")  # a file that is no ring yet
    packed = np.packbits(frames[1], axis=-1)
    watch.hear("WATCHDOG=1")
    watch.publish_until("STATUS=healthy", ring(), frames[0], packed)
    watch.hear("STATUS=unknown (stale)")
    shm_path("watch").unlink()
    watch.heard.clear()
    watch.publish_until("STATUS=healthy", ring(), frames[0], packed)
    watch.end()
    assert watch.child.returncode == 0


def test_an_inspector_names_what_happened_and_the_latch_keeps_it(inspected_bundle, tmp_path):
    robot, hz = load_bundle(inspected_bundle).robot, 20.0
    frames = next(Episode(robot, parse_events("bend:2:20@3"), hz, 30.0, 5).chunks(600))
    latch, path = tmp_path / "latch.json", shm_path("named")
    watch = Watch(tmp_path, inspected_bundle, "--ring", path, "--hz", hz, "--latch", latch)
    with RingWriter(path, frames.joint_pos.shape[1], (*frames.masks.shape[1:3], robot.cameras[0].width)) as writer:
        more = 30  # the first name is that of a picture or two, and the last one counts
        for q, sent, masks in zip(frames.joint_pos, frames.commanded, frames.masks, strict=True):
            watch.publish(writer, q, masks, sent)
            more -= any("STATUS=damaged (body damage: bend of " in line for line in watch.heard)
            if not more:
                break
    out, err = watch.end()
    path.unlink(missing_ok=True)
    assert watch.child.returncode == 0, err
    last = [line for line in out.splitlines() if "verdict: damaged" in line][-1]
    named = re.search(r"verdict: damaged \(body damage: bend of (\w+) ([\d.]+) \+- [\d.]+ deg", last)
    assert named, out
    behind = [robot.links[joint.child].name for joint in robot.actuated]
    assert named[1] == behind[1], out
    assert float(named[2]) == pytest.approx(20, abs=6)
    content = json.loads(latch.read_text())
    assert (content["verdict"], content["alarm"]) == ("damaged", "body damage")


def test_an_alarm_outlives_a_restart_until_it_is_acknowledged(bundle, frames, ring, tmp_path):
    latch, args = tmp_path / "latch.json", (bundle, "--ring", shm_path("watch"), "--hz", "50")
    writer, healthy, wrong = ring(), np.packbits(frames[1], axis=-1), np.packbits(~frames[1], axis=-1)
    first = Watch(tmp_path, *args, "--latch", latch)
    first.publish_until("STATUS=damaged", writer, frames[0], wrong)
    first.end()
    content = json.loads(latch.read_text())
    assert (content["schema"], content["verdict"]) == ("edgekin.latch/1", "damaged")
    again = Watch(tmp_path, *args, "--latch", latch)
    again.publish_until("STATUS=damaged (latched before this start)", writer, frames[0], healthy)
    out, _ = again.end()
    assert "healthy" not in out
    acknowledged = Watch(tmp_path, *args, "--latch", latch, "--acknowledge")
    acknowledged.publish_until("STATUS=healthy", writer, frames[0], healthy)
    acknowledged.end()
    assert not latch.exists()


def test_a_latch_that_says_nothing_sensible_is_a_fault(tmp_path):
    from edgekin.watching import Latch

    (tmp_path / "latch.json").write_text('{"verdict": "healthy"}')
    assert Latch(tmp_path / "latch.json").name == "fault"
    (tmp_path / "latch.json").write_text("")
    assert Latch(tmp_path / "latch.json").name == "fault"
    assert Latch(tmp_path / "latch.json", acknowledge=True).name == ""
    assert Latch(None).name == ""


def test_stopped_before_there_is_a_ring_it_says_so(bundle, tmp_path):
    watch = Watch(tmp_path, bundle, "--ring", tmp_path / "never.ring")
    watch.hear("READY=1")
    out, err = watch.end()
    assert (watch.child.returncode, err) == (0, "")
    assert "before there was a ring" in out


def test_another_robots_ring_and_bad_options_are_one_clear_line(bundle, ring, frames, monkeypatch):
    from edgekin import watching
    from edgekin.bundle import Bundle
    from edgekin.errors import ConfigError, RuntimeFault
    from edgekin.runtime.ring import RingReader

    ring(bytes(range(32)))
    with RingReader(shm_path("watch")) as reader:
        watching.check_robot(Bundle(bundle, {"robot": {"name": "unnamed"}}), reader)
        watching.check_robot(Bundle(bundle, {"robot": {"sha256": bytes(range(32)).hex()}}), reader)
        with pytest.raises(RuntimeFault, match="the ring is of robot 000102030405"):
            watching.check_robot(Bundle(bundle, {"robot": {"sha256": "ff" * 32}}), reader)
    with pytest.raises(ConfigError, match="--hz is 0"):
        watching.WatchOptions(bundle, shm_path("watch"), hz=0.0).validated()


def test_without_a_manager_nothing_is_sent(monkeypatch, tmp_path):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    assert not notify("READY=1")
