"""Body models in fixed point: the exported C against numpy to the bit, and numpy against the engine in floats."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")
pytest.importorskip("edgekin._ek", reason="build it: python setup.py build_ext --inplace")
from edgekin.compile.mcu import build, emulate, reference
from edgekin.compile.mcu.bench import scores
from edgekin.compile.mcu.cores import CORES, Core
from edgekin.compile.mcu.decoder import SOURCE
from edgekin.compile.mcu.model import Model, open_model
from edgekin.compile.mcu.subjects import of_model
from edgekin.compile.weights import write_body
from edgekin.models.body import ELLIPSOID, Body, Optics
from edgekin.models.body_graph import BodyGraph
from edgekin.runtime.engine import Engine
from tests.parity.test_body import N, links, parameters, robot
from tests.parity.test_mcu import SANITIZED, tools

POSES = 24
VARIANTS = ("plain", "background", "corner", "sliding", "close", "held", "steep")


def weights(variant: str, seed: int = 0) -> bytes:
    """The weight file of a body on arm4: with a static layer, sampled at corners, with a prismatic joint, with cameras
    close by, or with a joint that is held at rest."""
    spec = robot("tinyrenderer" if variant == "corner" else "center")
    joints = list(spec.joints)
    if variant == "sliding":
        joints[2] = replace(joints[2], kind="prismatic")
    if variant == "held":
        joints[1] = replace(joints[1], actuated=False, rest=0.4)
    if variant == "close":
        near = tuple(replace(c, world_to_cam=c.world_to_cam.copy()) for c in spec.cameras)
        for camera in near:
            camera.world_to_cam[2, 3] -= 0.75
        spec = replace(spec, cameras=near)
    spec = replace(spec, joints=tuple(joints))
    optics = Optics(background=variant == "background")
    flat = parameters(Body(spec, links(spec), optics), seed)
    if variant == "steep":
        flat[: N * ELLIPSOID].reshape(N, ELLIPSOID)[:, 10] = np.linspace(4, 9, N)
    return write_body(BodyGraph(spec, links(spec), optics, flat), "int8")


def asked(model: Model, blob: bytes, far: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    with Engine.open(blob) as engine:
        units = reference.to_units(rng.uniform(-far, far, (POSES, engine.info.n_joints)))
    views, height, width = model.shape
    return units, np.packbits(rng.random((POSES, views, height, width)) < 0.2, axis=-1)


def prepared(model: Model, core: Core, folder: Path, units: np.ndarray, masks: np.ndarray) -> list[emulate.Subject]:
    exported = model.export(core)
    text, subjects = of_model(exported)
    build.write(folder, exported.files | {"subjects.c": text})
    (folder / "in.bin").write_bytes(emulate.inputs([units], [masks]))
    return subjects


def check(run: emulate.Emulation, model: Model, units: np.ndarray, masks: np.ndarray) -> None:
    expected = model.predict(units)
    np.testing.assert_array_equal(run.answers[0].logits.reshape(expected.shape), expected)
    np.testing.assert_array_equal(scores(run.answers[0].scores), model.score(units, masks))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_c_gives_the_references_bits_on_the_host(variant: str, tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("cc is missing: apt-get install build-essential")
    blob = weights(variant)
    model = open_model(blob)
    units, masks = asked(model, blob, 7.0)
    subjects = prepared(model, CORES["m4"], tmp_path, units, masks)
    image = build.build_host(tmp_path, [SOURCE, "subjects.c"], "host", SANITIZED)
    check(emulate.run_host(image, subjects, POSES), model, units, masks)


@pytest.mark.parametrize("core", CORES.values(), ids=CORES)
def test_every_core_gives_the_references_bits(core: Core, tmp_path: Path) -> None:
    tools(core)
    blob = weights("background", 1)
    model = open_model(blob)
    units, masks = asked(model, blob, 3.0)
    subjects = prepared(model, core, tmp_path, units, masks)
    image = build.build(core, tmp_path, [SOURCE, "subjects.c"], "bench.c", "bench.elf")
    check(emulate.run(core, image, subjects, POSES, None), model, units, masks)


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v != "close"])
def test_the_pictures_are_those_of_the_engine_in_floats(variant: str) -> None:
    blob = weights(variant)
    model = open_model(blob)
    units, _ = asked(model, blob, 0.8)
    ours = 1 / (1 + np.exp(-model.logits(model.predict(units))))
    with Engine.open(blob) as engine:
        theirs = 1 / (1 + np.exp(-engine.predict(units / reference.UNITS_PER_RAD)))
    # A step of the picture is 1/254, of the fade 1/64 of an edge; hard edges may fall a pixel apart.
    assert np.abs(ours - theirs).mean() < 0.004
    assert (np.abs(ours - theirs) > 0.1).mean() < 0.002
