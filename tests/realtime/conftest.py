"""A small real engine and bundle for the loop; they answer every pose with one picture."""

import json

import numpy as np
import pytest

from edgekin.bundle import known_answers_bytes, write_manifest
from edgekin.compile.weights import write_weights
from edgekin.detection import calibrate, score_dataset
from edgekin.models.graph import Graph, Layer
from edgekin.robot import load_robot, save_robot
from edgekin.runtime.engine import Engine
from edgekin.sim.arm import healthy_trajectories

VIEWS, HEIGHT, WIDTH = 1, 12, 20


def constant_graph(n_joints, logits):
    """Return a graph that answers every pose with the logits (V, H, W)."""
    views, height, width = logits.shape
    weight = np.zeros((logits.size, 2 * n_joints), np.float32)
    return Graph(n_joints, views, height, width, (
        Layer("sincos", "sincos0"),
        Layer("linear", "linear0", {"relu": False}, weight, logits.ravel().astype(np.float32)),
        Layer("reshape", "reshape0", {"channels": views, "height": height, "width": width})))


@pytest.fixture
def engine():
    """An engine of 3 joints that expects an empty picture: logit -2 everywhere."""
    with Engine.open(write_weights(constant_graph(3, np.full((VIEWS, HEIGHT, WIDTH), -2.0)))) as opened:
        yield opened


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """A native bundle of the built-in arm whose model is the mean picture: poor, but real from end to end."""
    folder = tmp_path_factory.mktemp("runs") / "arm4" / "bundle-fp32"
    folder.mkdir(parents=True)
    robot = load_robot("arm4")
    joint_pos, packed, ids = healthy_trajectories(robot, 4.0, 25.0, seed=5, trajectories=6)
    mean = np.unpackbits(packed, axis=-1, count=robot.cameras[0].width).mean(axis=0).clip(0.02, 0.98)
    logits = np.log(mean / (1 - mean))
    weights = write_weights(constant_graph(len(robot.actuated), logits))
    with Engine.open(weights) as opened:
        scores = score_dataset(opened, joint_pos, packed)
    content = calibrate(scores, joint_pos, ids, robot.limits, sample_hz=25.0)
    (folder / "model.ekw").write_bytes(weights)
    (folder / "detector.json").write_text(json.dumps(content))
    answers = {"logits": np.stack([logits] * 2).astype(np.float32), "tolerance": np.array(1e-3)}
    (folder / "known_answers.npz").write_bytes(known_answers_bytes(joint_pos[:2], **answers))
    save_robot(robot, folder)
    write_manifest(folder, {"target": "native", "precision": "fp32", "robot": {"name": robot.name}})
    return folder
