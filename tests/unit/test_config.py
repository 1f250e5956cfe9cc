"""YAML to dataclass: types are checked, unknown keys answered, files bounded."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgekin.config import from_mapping, load_yaml
from edgekin.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5


@dataclass(frozen=True)
class Outer:
    name: str
    samples: int = 3
    path: Path | None = None
    inner: Inner = field(default_factory=Inner)

    def validated(self):
        if self.samples < 0:
            raise ConfigError(f"samples is {self.samples}")
        return self


def test_a_mapping_becomes_the_dataclass():
    made = from_mapping(Outer, {"name": "a", "path": "x/y", "inner": {"rate": 1}}, "t.yaml")
    assert made == Outer("a", 3, Path("x/y"), Inner(1.0))
    assert isinstance(made.inner.rate, float)


@pytest.mark.parametrize(("mapping", "words"), [
    ({"name": "a", "sampels": 3}, ("t.yaml", "sampels", "Did you mean 'samples'")),
    ({"name": "a", "zzz": 3}, ("zzz", "Known keys")),
    ({"samples": 3}, ("lacks 'name'",)),
    ({"name": 3}, ("name is 3", "a text")),
    ({"name": "a", "samples": True}, ("samples is True", "a whole number")),
    ({"name": "a", "samples": 1.5}, ("samples is 1.5",)),
    ({"name": "a", "samples": None}, ("samples is None",)),
    ({"name": "a", "inner": 3}, ("inner is 3", "a mapping")),
    ({"name": "a", "inner": {"rat": 3}}, ("t.yaml: inner", "Did you mean 'rate'")),
    ({"name": "a", "samples": -1}, ("samples is -1",)),
])
def test_what_cannot_be_used_is_named(mapping, words):
    with pytest.raises(ConfigError) as caught:
        from_mapping(Outer, mapping, "t.yaml")
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(("text", "word"), [("a: [", "not valid YAML"), ("- 1\n- 2", "no mapping"),
                                            ("1: 2", "no mapping")])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text, word):
    path = tmp_path / "t.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=word):
        load_yaml(path)


def test_missing_binary_and_huge_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_yaml(tmp_path / "binary.yaml")
    (tmp_path / "huge.yaml").write_text("#" * (1 << 20) + "\n")
    with pytest.raises(ConfigError, match="longer than"):
        load_yaml(tmp_path / "huge.yaml")


def test_an_empty_file_leaves_the_defaults(tmp_path):
    (tmp_path / "t.yaml").write_text("# nothing\n")
    assert load_yaml(tmp_path / "t.yaml") == {}
