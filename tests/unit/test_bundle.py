"""Bundles: what loading checks, and what each refusal says."""

import json
import os

import numpy as np
import pytest

from edgekin.bundle import (
    INSPECTION,
    KNOWN_ANSWERS,
    MANIFEST,
    REQUIRED,
    known_answers_bytes,
    latest_bundle,
    load_bundle,
    read_known_answers,
    with_file,
    write_manifest,
)
from edgekin.errors import BundleError
from edgekin.opening import inspector_config, open_body
from edgekin.output import write_atomic


def make_bundle(folder, target="native"):
    folder.mkdir(parents=True)
    for name in REQUIRED[target]:
        (folder / name).write_bytes(b"{}" if name.endswith(".json") else f"content of {name}".encode())
    write_manifest(folder, {"target": target, "precision": "int8"})
    return folder


@pytest.fixture
def bundle(tmp_path):
    return make_bundle(tmp_path / "run" / "bundle-int8")


def edit_manifest(bundle, **changes):
    path = bundle / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_written_bundle_loads(bundle):
    loaded = load_bundle(bundle)
    assert (loaded.target, loaded.precision, loaded.detector) == ("native", "int8", {})
    assert loaded.read("model.ekw") == b"content of model.ekw"


@pytest.mark.parametrize("name", REQUIRED["native"])
def test_a_changed_byte_names_the_file(bundle, name):
    path = bundle / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError) as error:
        load_bundle(bundle)
    assert str(path) in str(error.value)
    assert "was changed" in str(error.value)
    assert "edgekin compile" in error.value.hint


@pytest.mark.parametrize("name", REQUIRED["native"])
def test_a_truncated_or_missing_file_is_named(bundle, name):
    path = bundle / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match=f"{name} has .* bytes, the manifest says"):
        load_bundle(bundle)
    path.unlink()
    with pytest.raises(BundleError, match=f"{name} cannot be read"):
        load_bundle(bundle)


def test_another_version_names_both_and_the_remedy(bundle):
    edit_manifest(bundle, format_version=2)
    with pytest.raises(BundleError, match=r"format version 2 .* reads version 1") as error:
        load_bundle(bundle)
    assert "edgekin compile" in error.value.hint


def test_a_missing_bundle_says_how_to_get_one(tmp_path):
    with pytest.raises(BundleError, match="does not exist") as error:
        load_bundle(tmp_path / "absent")
    assert error.value.hint == "Run: edgekin compile --int8"
    with pytest.raises(BundleError, match="is not a bundle"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "\xff", "[" * 100_000])
def test_a_damaged_manifest_is_refused(bundle, text):
    (bundle / MANIFEST).write_text(text, encoding="latin-1")
    with pytest.raises(BundleError, match=MANIFEST):
        load_bundle(bundle)


@pytest.mark.parametrize("files", [
    {}, [], {"../robot.yaml": {"bytes": 1, "sha256": ""}}, {"/etc/passwd": {"bytes": 1, "sha256": ""}},
    {"model.ekw": {"bytes": "1", "sha256": ""}}, {"model.ekw": 3}, {".hidden": {"bytes": 1, "sha256": ""}},
    {"manifest.json": {"bytes": 1, "sha256": ""}}, {"model.ekw": {"bytes": 1, "sha256": ""}},
])
def test_a_malformed_file_list_is_refused_before_any_file_is_opened(bundle, files):
    edit_manifest(bundle, files=files)
    with pytest.raises(BundleError, match=r"malformed entry|lists no files|does not list"):
        load_bundle(bundle)


def test_a_link_out_of_the_bundle_is_refused(bundle, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes((bundle / "model.ekw").read_bytes())
    (bundle / "model.ekw").unlink()
    (bundle / "model.ekw").symlink_to(outside)
    with pytest.raises(BundleError, match="not a regular file"):
        load_bundle(bundle)


def test_a_bundle_for_another_target_opens_no_native_engine(tmp_path):
    loaded = load_bundle(make_bundle(tmp_path / "b", "onnx"))
    with pytest.raises(BundleError, match="for target onnx") as error:
        loaded.open_engine()
    assert error.value.hint == "Run: edgekin compile --target native"


def test_the_latest_bundle_is_the_one_written_last(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIN_RUNS", str(tmp_path))
    with pytest.raises(BundleError, match="no bundle under") as error:
        latest_bundle()
    assert "edgekin compile" in error.value.hint
    for age, name in ((30, "a/bundle-int8"), (10, "b/bundle-fp32"), (20, "b/bundle-int8"), (0, "b/.bundle-int8.x.tmp")):
        manifest = make_bundle(tmp_path / name) / MANIFEST
        stamp = manifest.stat().st_mtime - age
        os.utime(manifest, (stamp, stamp))
    assert latest_bundle() == tmp_path / "b" / "bundle-fp32"


def test_known_answers_survive_their_file_and_refuse_damage():
    poses = np.zeros((3, 4))
    raw = known_answers_bytes(poses, logits_int8=np.ones((3, 1, 2, 2), np.int8))
    answers = read_known_answers(raw, f"b/{KNOWN_ANSWERS}")
    assert answers["logits_int8"].dtype == np.int8
    assert np.array_equal(answers["joint_pos"], poses)
    for bad in (b"", raw[:-30], b"PK" + raw, known_answers_bytes(np.zeros((0, 4))), known_answers_bytes(np.zeros(4))):
        with pytest.raises(BundleError, match=KNOWN_ANSWERS):
            read_known_answers(bad, f"b/{KNOWN_ANSWERS}")


def test_pickled_answers_are_never_loaded():
    raw = known_answers_bytes(np.array([[object()]]))
    with pytest.raises(BundleError, match=KNOWN_ANSWERS):
        read_known_answers(raw, f"b/{KNOWN_ANSWERS}")


def test_a_bundle_without_inspection_or_body_says_how_to_get_them(bundle):
    loaded = load_bundle(bundle)
    assert loaded.inspection == {}
    with pytest.raises(BundleError, match="inspector was never calibrated") as error:
        inspector_config(loaded)
    assert error.value.hint == f"Run: edgekin calibrate-detector {bundle}"
    with pytest.raises(BundleError, match="has no body model") as error:
        open_body(loaded)
    assert "--no-body-model" in error.value.hint


def test_inspection_is_read_where_the_manifest_lists_it(bundle):
    (bundle / INSPECTION).write_text('{"threshold": 3}')
    assert load_bundle(bundle).inspection == {}
    (bundle / MANIFEST).unlink()
    write_manifest(bundle, {"target": "native", "precision": "int8"})
    loaded = load_bundle(bundle)
    assert loaded.inspection == {"threshold": 3}
    with pytest.raises(BundleError, match="inspector's settings cannot be read") as error:
        inspector_config(loaded)
    assert "edgekin calibrate-detector" in error.value.hint


def test_a_file_is_put_into_a_bundle_and_replaced(bundle):
    first = with_file(load_bundle(bundle), INSPECTION, b'{"threshold": 1}')
    assert first.inspection == {"threshold": 1}
    second = with_file(first, INSPECTION, b'{"threshold": 22}')
    assert second.inspection == load_bundle(bundle).inspection == {"threshold": 22}
    assert {key: entry for key, entry in second.manifest.items() if key != "files"} == {
        key: entry for key, entry in load_bundle(bundle).manifest.items() if key != "files"}
    assert sorted(path.name for path in bundle.iterdir()) == sorted([*REQUIRED["native"], MANIFEST, INSPECTION])


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_bundle_is_whole_wherever_the_writing_of_a_file_ends(bundle, monkeypatch, writes):
    old = with_file(load_bundle(bundle), INSPECTION, b'{"threshold": 1}')
    done = []

    def write(path, data):
        if len(done) == writes:
            raise OSError(28, "No space left on device")
        done.append(path.name)
        write_atomic(path, data)

    monkeypatch.setattr("edgekin.bundle.write_atomic", write)
    with pytest.raises(BundleError, match=r"cannot write .*inspection.json: No space left on device"):
        with_file(old, INSPECTION, b'{"threshold": 22}')
    assert done == [MANIFEST, INSPECTION][:writes]
    assert load_bundle(bundle).inspection == ({} if writes else {"threshold": 1})


def test_a_bundle_that_was_written_anew_meanwhile_is_left_alone(bundle):
    loaded = load_bundle(bundle)
    edit_manifest(bundle, precision="fp32")
    before = (bundle / MANIFEST).read_bytes()
    with pytest.raises(BundleError, match="was written anew meanwhile"):
        with_file(loaded, INSPECTION, b"{}")
    assert (bundle / MANIFEST).read_bytes() == before
    assert not (bundle / INSPECTION).exists()
