"""Datasets on disk, excitation, collection and import; and every way in which they can be wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest
from robots import seed_arm

from edgekin.errors import ConfigError, DataError
from edgekin.robot import load_robot
from edgekin.sim.collect import CollectOptions, collect, uniform_dataset
from edgekin.sim.dataset import Dataset, load_dataset, save_dataset, split_blocks, split_chronological, split_random
from edgekin.sim.excitation import coverage, lorenz, published_commands, sobol
from edgekin.sim.importer import ImportOptions, import_recording

LIMITS = np.array([[-1.5, 1.5], [-1.0, 2.0], [0.0, 1.0], [-3.0, 3.0], [-0.1, 0.1]])


def small(n=20):
    return uniform_dataset(load_robot("arm4"), n, 0)


def test_a_dataset_comes_back_the_same(tmp_path):
    data = replace(small(), depth=np.ones((20, 1, 100, 100), np.float32))
    save_dataset(data, tmp_path / "new" / "d.npz")
    again = load_dataset(tmp_path / "new" / "d.npz")
    assert np.array_equal(again.joint_pos, data.joint_pos)
    assert np.array_equal(again.masks, data.masks)
    assert np.array_equal(again.depth, data.depth)
    assert again.meta["robot_sha256"] == data.meta["robot_sha256"]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["d.npz"]


def test_nothing_is_overwritten_without_force(tmp_path):
    save_dataset(small(), tmp_path / "d.npz")
    with pytest.raises(DataError, match="exists already"):
        save_dataset(small(), tmp_path / "d.npz")
    save_dataset(small(10), tmp_path / "d.npz", force=True)
    assert len(load_dataset(tmp_path / "d.npz")) == 10


def test_a_path_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        save_dataset(small(), tmp_path / "file" / "d.npz")


def nan_angles(d):
    d["joint_pos"][3, 1] = np.nan


def fewer_masks(d):
    d["packed"] = d["packed"][:-1]


def no_samples(d):
    d["packed"], d["joint_pos"] = d["packed"][:0], d["joint_pos"][:0]


@pytest.mark.parametrize(("change", "match"), [
    (nan_angles, "not finite in 1 of 20"), (fewer_masks, "20 joint samples but 19 masks"), (no_samples, "is empty"),
    (lambda d: d["packed"].fill(0), "without a single robot pixel"), (lambda d: d.pop("packed"), "lacks packed"),
    (lambda d: d.update(width=np.int64(64)), "bytes a row"), (lambda d: d.update(joint_pos=d["joint_pos"][0]), "shape"),
    (lambda d: d.update(meta=np.frombuffer(b'{"schema": "x/1"}', np.uint8)), "schema 'x/1'"),
    (lambda d: d.update(meta=np.frombuffer(b"{", np.uint8)), "schema None"),
    (lambda d: d.update(packed=d["packed"].astype(float)), "uint8"),
])
def test_unusable_data_are_refused_with_what_is_wrong(tmp_path, change, match):
    data = small()
    arrays = {"joint_pos": data.joint_pos.copy(), "packed": data.packed.copy(), "width": np.int64(100),
              "meta": np.frombuffer(json.dumps({"schema": "edgekin.data/1"}).encode(), np.uint8)}
    change(arrays)
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(DataError, match=match) as caught:
        load_dataset(tmp_path / "d.npz")
    assert caught.value.hint


@pytest.mark.parametrize("keep", [0, 10, 1000])
def test_a_truncated_file_is_refused(tmp_path, keep):
    save_dataset(small(), tmp_path / "d.npz")
    (tmp_path / "d.npz").write_bytes((tmp_path / "d.npz").read_bytes()[:keep])
    with pytest.raises(DataError, match="truncated"):
        load_dataset(tmp_path / "d.npz")


def test_pickled_content_is_never_loaded(tmp_path):
    np.savez(tmp_path / "d.npz", joint_pos=np.array([{}], dtype=object))
    with pytest.raises(DataError):
        load_dataset(tmp_path / "d.npz")


def test_splits_keep_time_and_distance():
    data = replace(small(200), joint_pos=np.repeat(np.arange(200.0)[:, None], 4, axis=1))
    train, test = split_chronological(data, 160)
    assert train.joint_pos.max() < test.joint_pos.min()
    train, test = split_blocks(data, test_share=0.2, blocks=2, gap=5)
    distance = np.abs(train.joint_pos[:, :1] - test.joint_pos[:, 0]).min()
    assert len(test) == 40
    assert distance > 5
    train, test = split_random(data, 50, 0)
    assert len(test) == 50
    assert not set(train.joint_pos[:, 0]) & set(test.joint_pos[:, 0])
    with pytest.raises(DataError):
        split_chronological(data, 200)


def test_lorenz_covers_the_limits_and_follows_its_seed():
    one, two = lorenz(2000, 5, LIMITS, 0), lorenz(2000, 5, LIMITS, 1)
    assert (coverage(one, LIMITS) >= 0.9).all()
    assert np.array_equal(one, lorenz(2000, 5, LIMITS, 0))
    assert not np.allclose(one, two)
    assert np.abs(np.corrcoef(one.T) - np.eye(5)).max() < 0.6
    with pytest.raises(ConfigError):
        lorenz(1, 5, LIMITS, 0)


def test_sobol_fills_the_limits_evenly():
    points = sobol(1000, LIMITS, 0)
    assert points.shape == (1000, 5)
    assert (coverage(points, LIMITS) > 0.99).all()
    unit = (points - LIMITS[:, 0]) / (LIMITS[:, 1] - LIMITS[:, 0])
    assert np.abs(unit.mean(axis=0) - 0.5).max() < 0.01


def test_published_commands_have_the_published_range():
    degrees = 90 * published_commands()
    assert degrees.min() == pytest.approx(-45.8, abs=0.1)
    assert degrees[:, :3].max() == pytest.approx(53.2, abs=0.1)
    assert np.allclose([degrees[:, 3].min(), degrees[:, 3].max()], [1.9, 70.4], atol=0.1)


def test_collection_does_not_depend_on_the_number_of_workers():
    pytest.importorskip("pybullet", reason="needs PyBullet: pip install 'edgekin[train]'")
    options = CollectOptions(load_robot("arm4"), samples=300, workers=1, encoder_noise_rad=0.01, mask_noise=0.01,
                             seed=5)
    done = []
    one, two = collect(options, lambda n, total: done.append((n, total))), collect(replace(options, workers=2))
    assert np.array_equal(one.joint_pos, two.joint_pos)
    assert np.array_equal(one.packed, two.packed)
    assert done[-1] == (300, 300)
    assert min(one.meta["coverage"].values()) >= 0.9
    assert not np.array_equal(one.packed, collect(replace(options, seed=6)).packed)


def test_collected_angles_are_measured_not_commanded():
    pytest.importorskip("pybullet", reason="needs PyBullet: pip install 'edgekin[train]'")
    spec = load_robot("arm4")
    data = collect(CollectOptions(spec, samples=250, workers=1, depth=True))
    difference = np.abs(data.joint_pos - lorenz(250, 4, spec.limits, 0))
    assert 1e-6 < difference.max() < 0.3
    assert (np.isfinite(data.depth) == data.masks).mean() > 0.9999


@pytest.mark.parametrize("change", [{"samples": 1}, {"excitation": "walk"}, {"mask_noise": 0.7},
                                    {"encoder_noise_rad": -1}])
def test_options_out_of_range_are_refused(change):
    with pytest.raises(ConfigError):
        collect(replace(CollectOptions(load_robot("arm4")), **change))


@pytest.fixture
def recording(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="needs Pillow: pip install 'edgekin[train]'")
    data = small(12)
    (tmp_path / "masks").mkdir()
    for i, mask in enumerate(data.masks[:, 0]):
        image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "masks" / f"frame{i}.png")
    np.save(tmp_path / "joints.npy", data.joint_pos)
    return data, tmp_path


def test_masks_and_angles_are_imported_as_they_are(recording):
    data, folder = recording
    got = import_recording(ImportOptions(load_robot("arm4"), folder))
    assert np.array_equal(got.packed, data.packed)
    assert np.array_equal(got.joint_pos, data.joint_pos)


def test_a_csv_may_name_its_columns_and_be_in_degrees(recording):
    data, folder = recording
    (folder / "joints.npy").unlink()
    rows = ["time,wrist,elbow,shoulder,yaw"]
    rows += [",".join(map(str, [i, *np.degrees(q[::-1])])) for i, q in enumerate(data.joint_pos)]
    (folder / "log.csv").write_text("\n".join(rows) + "\n")
    got = import_recording(ImportOptions(load_robot("arm4"), folder, degrees=True))
    assert np.allclose(got.joint_pos, data.joint_pos)


def test_frames_are_segmented_by_threshold_or_background(recording):
    image = pytest.importorskip("PIL.Image")
    data, folder = recording
    (folder / "masks").rename(folder / "frames")
    scene = np.random.default_rng(0).integers(60, 120, (100, 100, 3), dtype=np.uint8)
    image.fromarray(scene).save(folder / "empty.png")
    for i, mask in enumerate(data.masks[:, 0]):
        frame = np.where(mask[..., None], np.uint8(20), scene)
        image.fromarray(frame).save(folder / "frames" / f"frame{i}.png")
    spec = load_robot("arm4")
    dark = import_recording(ImportOptions(spec, folder, threshold=50, dark=True))
    subtracted = import_recording(ImportOptions(spec, folder, background=folder / "empty.png"))
    assert np.array_equal(dark.packed, data.packed)
    assert np.array_equal(subtracted.packed, data.packed)


def test_larger_pictures_are_brought_to_the_cameras_size(recording):
    image = pytest.importorskip("PIL.Image")
    data, folder = recording
    for path in (folder / "masks").iterdir():
        image.open(path).resize((300, 300), image.Resampling.NEAREST).save(path)
    assert np.array_equal(import_recording(ImportOptions(load_robot("arm4"), folder)).packed, data.packed)


def test_recordings_that_do_not_fit_are_refused(recording):
    image = pytest.importorskip("PIL.Image")
    data, folder = recording
    spec = load_robot("arm4")

    def refused(match, **options):
        with pytest.raises((DataError, ConfigError), match=match) as caught:
            import_recording(ImportOptions(spec, folder, **options))
        assert caught.value.hint

    np.save(folder / "joints.npy", data.joint_pos[:-1])
    refused("11 rows of joint angles but 12 pictures")
    np.save(folder / "joints.npy", data.joint_pos[:, :3])
    refused(r"expected \(N, 4\)")
    np.save(folder / "joints.npy", np.where(np.arange(12)[:, None] == 5, np.nan, data.joint_pos))
    refused("not finite")
    np.save(folder / "joints.npy", data.joint_pos)
    refused("without a single robot pixel", dark=True, threshold=0)
    refused("exclude", dark=True, background=folder / "masks" / "frame0.png")
    refused("0 to 255", threshold=300)
    image.open(folder / "masks" / "frame7.png").resize((50, 50)).save(folder / "masks" / "frame7.png")
    refused("50x50 px, the ones before are 100x100")
    (folder / "masks" / "frame7.png").write_bytes(b"no picture")
    refused("cannot be read")
    (folder / "joints.npy").write_bytes(b"x")
    refused("cannot be read")
    (folder / "joints.npy").unlink()
    refused("holds 0 CSV or NPY files")


def test_the_published_data_are_refused_for_another_arm():
    from edgekin.errors import RobotError
    from edgekin.robot.loading import pybullet_data_folder
    from edgekin.sim.published import published_dataset

    if pybullet_data_folder() is None:
        pytest.skip("needs pybullet_data: pip install 'edgekin[train]'")
    with pytest.raises(RobotError, match="expected 4"):
        published_dataset("kuka_iiwa/model.urdf", samples=2)


def test_the_published_data_hold_the_ground_and_commanded_angles(tmp_path):
    pytest.importorskip("pybullet", reason="needs PyBullet: pip install 'edgekin[train]'")
    from edgekin.sim.published import published_dataset

    data = published_dataset(seed_arm(), tmp_path / "cache.npz", samples=12)
    assert np.array_equal(data.joint_pos, published_commands(12) * np.pi / 2)
    assert data.masks.mean() == pytest.approx(0.524, abs=0.02)
    assert np.array_equal(published_dataset(seed_arm(), tmp_path / "cache.npz", samples=12).packed, data.packed)


def test_a_dataset_is_made_of_plain_arrays():
    data = small(3)
    assert isinstance(data, Dataset)
    assert data.packed.shape == (3, 1, 100, 13)
