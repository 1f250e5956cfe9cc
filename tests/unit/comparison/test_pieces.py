"""What a comparison keeps on disk."""

import pytest

from edgekin.comparison.pieces import PIECES, Store, given_run
from edgekin.errors import ConfigError
from edgekin.robot import load_robot, robot_sha256

ONE = {"preset": "quick", "seed": 0}


def test_pieces_are_kept_until_forced(tmp_path):
    store = Store(tmp_path / "c", ONE, False)
    assert store.read("a") is None
    store.write("a", {"psnr_db": 1.0})
    assert Store(tmp_path / "c", ONE, False).read("a") == {"psnr_db": 1.0}
    (tmp_path / "c" / PIECES / "a.json").write_text('{"psnr_db": 1')
    assert store.read("a") is None  # cut off: not done
    store.write("a", {})
    assert Store(tmp_path / "c", ONE, True).read("a") is None


def test_another_comparison_or_something_else_is_not_mixed_in(tmp_path):
    Store(tmp_path / "c", ONE, False)
    with pytest.raises(ConfigError, match=r"with seed 0, not 1.*--force"):
        Store(tmp_path / "c", {**ONE, "seed": 1}, False)
    Store(tmp_path / "c", {**ONE, "seed": 1}, True)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "t.txt").write_text("years of work")
    for force in (False, True):
        with pytest.raises(ConfigError, match="holds no comparison"):
            Store(tmp_path / "thesis", ONE, force)
    assert (tmp_path / "thesis" / "t.txt").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="holds no comparison"):
        Store(tmp_path / "file", ONE, False)
    with pytest.raises(ConfigError, match="cannot write"):
        Store(tmp_path / "file" / "below", ONE, False)


def test_a_run_must_be_of_the_model_and_the_robot(run_folder):
    arm4 = robot_sha256(load_robot("arm4"))
    assert given_run("neurokin", "tiny", "arm4", arm4).path == run_folder
    with pytest.raises(ConfigError, match="is of model neurokin, not k3dgs"):
        given_run("k3dgs", "tiny", "arm4", arm4)
    with pytest.raises(ConfigError, match=r"another robot or camera \(arm4\) than kuka"):
        given_run("neurokin", "tiny", "kuka", "0" * 64)
    with pytest.raises(ConfigError, match="is no run"):
        given_run("neurokin", "nowhere", "arm4", arm4)
