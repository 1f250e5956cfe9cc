"""edgekin damages: the catalogue, as a table and as JSON, and the check of a user's file."""

import json
import subprocess
import sys

from edgekin.robot import parse_events
from edgekin.robot.catalogue import KINDS


def edgekin(*args):
    return subprocess.run([sys.executable, "-m", "edgekin", "damages", *map(str, args)], capture_output=True, text=True)


def test_every_kind_is_listed_with_an_example_and_the_json_agrees(tmp_path):
    out = tmp_path / "d.json"
    done = edgekin("arm4", "--json", out)
    assert done.returncode == 0, done.stderr
    for kind in KINDS.values():
        assert kind.form in done.stdout
        assert kind.example in done.stdout
    content = json.loads(out.read_text())
    assert content["schema"] == "edgekin.damages/1"
    assert [kind["name"] for kind in content["kinds"]] == list(KINDS)
    assert all(parse_events(case["events"]) and set(case["classes"]) <= set(content["classes"])
               for case in content["cases"])


def test_a_file_is_listed_and_checked_against_the_robot(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("damages: {floppy: {events: backlash:elbow:3, what: it rattles}}")
    done = edgekin("arm4", "--file", path)
    assert (done.returncode, "it rattles" in done.stdout) == (0, True), done.stderr
    path.write_text("damages: {floppy: {events: backlash:elbw:3}}")
    done = edgekin("arm4", "--file", path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "Did you mean 'elbow'?" in done.stderr
