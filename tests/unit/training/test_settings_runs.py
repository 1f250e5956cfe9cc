"""Where runs lie."""

from pathlib import Path

import pytest

from edgekin.training.settings import runs_folder, runs_under


def test_a_block_keeps_its_runs_in_a_folder_of_its_own(monkeypatch):
    monkeypatch.setenv("EDGEKIN_RUNS", "elsewhere")
    with runs_under(Path("mine")):
        assert runs_folder() == Path("mine")
        with pytest.raises(RuntimeError), runs_under(Path("inner")):
            raise RuntimeError
        assert runs_folder() == Path("mine")
    assert runs_folder() == Path("elsewhere")
