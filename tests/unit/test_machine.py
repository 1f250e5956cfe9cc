"""What a recorded measurement says about its machine."""

from __future__ import annotations

import json

import pytest

from edgekin import machine


@pytest.mark.parametrize(("vendor", "family", "model", "expected"), [
    ("AuthenticAMD", 23, 1, "Zen 1"), ("AuthenticAMD", 23, 0x31, "Zen 2"), ("AuthenticAMD", 25, 1, "Zen 3"),
    ("AuthenticAMD", 25, 0x11, "Zen 4"), ("AuthenticAMD", 25, 0x21, "Zen 3"), ("AuthenticAMD", 26, 2, "Zen 5"),
    ("AuthenticAMD", 99, 1, ""), ("GenuineIntel", 23, 1, "")])
def test_a_cpu_whose_name_hides_its_design_is_told_by_its_numbers(monkeypatch, vendor, family, model, expected):
    info = (f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\n"
            "model name\t: X\n\nprocessor\t: 1\n")
    monkeypatch.setattr(machine, "_read", lambda path: info)
    assert machine.cpu_generation() == expected


def test_a_machine_without_such_numbers_has_no_generation(monkeypatch):
    monkeypatch.setattr(machine, "_read", lambda path: "Model : A board\nFeatures : asimd\n")
    assert (machine.cpu_generation(), machine.cpu_model(), machine.isa_features()) == ("", "A board", ["asimd"])


def test_the_description_is_json():
    described = machine.describe()
    assert json.loads(json.dumps(described)) == described
