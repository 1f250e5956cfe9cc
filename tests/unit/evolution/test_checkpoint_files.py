"""Checkpoints: the last whole generation is found, whatever happened to the one after it."""

import numpy as np
import pytest

from edgekin.errors import ConfigError
from edgekin.evolution import checkpoint


def write(folder, *generations):
    for n in generations:
        checkpoint.save(folder, n, {"generation": n}, {"a/weight": np.full((2, 3), n, np.float32)})


def test_the_last_two_generations_are_kept(tmp_path):
    write(tmp_path, 1, 2, 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["generation-000002.ckpt", "generation-000003.ckpt"]
    state, arrays, trouble = checkpoint.load(tmp_path)
    assert (state, trouble) == ({"generation": 3}, "")
    np.testing.assert_array_equal(arrays["a/weight"], np.full((2, 3), 3, np.float32))


@pytest.mark.parametrize("damage", [lambda b: b[:-7], lambda b: b[:200] + bytes([b[200] ^ 1]) + b[201:],
                                    lambda b: b"", lambda b: b"edgekin.other/9\n" + b])
def test_a_damaged_one_goes_back_a_generation_and_says_so(tmp_path, damage):
    write(tmp_path, 4, 5)
    last = tmp_path / "generation-000005.ckpt"
    last.write_bytes(damage(last.read_bytes()))
    state, _, trouble = checkpoint.load(tmp_path)
    assert state == {"generation": 4}
    assert "is damaged: going back from generation 5" in trouble


def test_nothing_whole_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="there is no checkpoint"):
        checkpoint.load(tmp_path)
    write(tmp_path, 1)
    (tmp_path / "generation-000001.ckpt").write_bytes(b"no")
    with pytest.raises(ConfigError, match="is whole"):
        checkpoint.load(tmp_path)


def test_what_was_being_written_does_not_count(tmp_path):
    write(tmp_path, 1)
    (tmp_path / ".generation-000002.ckpt.x1y2").write_bytes(b"half")
    assert checkpoint.load(tmp_path)[0] == {"generation": 1}
