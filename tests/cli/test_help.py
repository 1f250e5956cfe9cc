"""The face of the command line: help, version, usage errors."""

import subprocess
import sys

import pytest

from edgekin import __version__
from edgekin.cli import COMMANDS

HEAVY = ("torch", "pybullet", "onnx", "onnxruntime", "matplotlib", "scipy", "numpy.testing")


def edgekin(*args):
    return subprocess.run([sys.executable, "-m", "edgekin", *args], capture_output=True, text=True)


def test_help_lists_every_command():
    done = edgekin("--help")
    assert done.returncode == 0
    for name in COMMANDS:
        assert name in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    done = edgekin(name, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_importing_every_command_loads_nothing_heavy():
    code = (
        "import sys, edgekin.cli, importlib\n"
        "for name in edgekin.cli.COMMANDS: importlib.import_module(f'edgekin.cli.{edgekin.cli.module_of(name)}')\n"
        f"print(sorted(set({HEAVY}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_version_is_printed():
    assert __version__ in edgekin("--version").stdout


def test_an_unknown_command_is_a_usage_error():
    done = edgekin("trian")
    assert done.returncode == 2
    assert "trian" in done.stderr
    assert "Traceback" not in done.stderr
