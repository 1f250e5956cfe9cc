"""edgekin compile and bench with --target mcu as a user meets them: a folder for three tools, proof, refusals."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgekin.compile.mcu.cores import CORES, PACKAGES
from edgekin.compile.mcu.project import FILES
from tests.cli.refusals import assert_refused

ROOT = Path(__file__).resolve().parents[2]
#: What the sketch uses of Arduino.
SERIAL = """struct Port { void begin(long); void print(const char *); void println(unsigned long); };
extern Port Serial;
"""
STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2")


@pytest.fixture
def edgekin(tmp_path):
    """Run the command line in an empty folder."""
    def call(*arguments, path=os.environ["PATH"]):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "OMP_NUM_THREADS": "1", "PATH": path}
        return subprocess.run([sys.executable, "-m", "edgekin", *map(str, arguments)], cwd=tmp_path, env=environment,
                              capture_output=True, text=True, timeout=300, check=False)

    return call


@pytest.fixture
def exported(edgekin, run_folder, tmp_path):
    """A bundle of target mcu."""
    done = edgekin("compile", run_folder, "--int8", "--target", "mcu", "--out", tmp_path / "m", "--samples", "40",
                   "--max-psnr-loss", "1")
    assert done.returncode == 0, done.stderr
    return tmp_path / "m"


def test_one_folder_is_a_bundle_and_what_make_arduino_and_zephyr_take(exported, edgekin):
    manifest = json.loads((exported / "manifest.json").read_text())
    assert (manifest["target"], manifest["precision"]) == ("mcu", "int8")
    assert {*FILES, "src/edgekin_model.c", "src/edgekin_model.h"} <= set(manifest["files"])
    assert "@" not in "".join((exported / name).read_text() for name in FILES if name != "Makefile")
    if shutil.which("cc") is None:
        pytest.skip("cc is missing: apt-get install build-essential")
    subprocess.run(["cc", *STRICT, "-c", "src/edgekin_model.c", "-o", "m.o"], cwd=exported, check=True)
    subprocess.run(["make", "-s", "CC=cc", "CFLAGS=-O2"], cwd=exported, check=True)
    assert (exported / "libedgekin_model.a").is_file()
    if shutil.which("c++") is not None:
        subprocess.run(["c++", "-fsyntax-only", "-Wall", "-Isrc", "-x", "c++", "-"], cwd=exported, text=True,
                       check=True, input=f'{SERIAL}#include "examples/watch/watch.ino"\n')


def test_the_board_gives_every_bit_and_the_json_says_what_that_took(exported, edgekin, tmp_path):
    core = CORES["m4"]
    missing = [tool for tool in (core.compiler, core.emulator) if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is missing: apt-get install {' '.join(PACKAGES)}")
    done = edgekin("bench", exported, "--target", "mcu", "--poses", "3", "--json", tmp_path / "m4.json")
    assert done.returncode == 0, done.stderr
    assert "mismatches: 0" in done.stdout
    result = json.loads((tmp_path / "m4.json").read_text())
    assert next(iter(result)) == "schema"
    assert (result["schema"], result["core"], result["mismatches"]) == ("edgekin.mcu/1", "m4", 0)
    assert result["outputs_checked"] == 3 * (result["outputs_checked"] // 3) > 0
    weights = (exported / "model.ekw").stat().st_size
    assert 0.8 * weights < result["flash_bytes"] < weights + 20_000
    for key in ("instructions", "ram_bytes", "stack_bytes", "psnr_db", "iou"):
        assert result[key] > 0


def test_refusals_are_one_line(exported, edgekin, run_folder):
    assert_refused(edgekin("compile", run_folder, "--int8", "--target", "mcu", "--core", "m99"), 1,
                   "there is no core 'm99' here. Use one of m3, m4, m7, m33, m55, rv32")
    assert_refused(edgekin("compile", run_folder, "--fp32", "--target", "mcu"), 1, "target mcu has int8, got fp32")
    assert_refused(edgekin("compile", run_folder, "--int8", "--core", "m4"), 1, "Use it with --target mcu")
    assert_refused(edgekin("bench", exported, "--target", "mcu", "--core", "m99"), 1, "there is no core 'm99' here")
    assert_refused(edgekin("bench", exported, "--target", "mcu", path="/nowhere"), 1,
                   f"apt-get install --no-install-recommends {' '.join(PACKAGES)}")
    assert_refused(edgekin("bench", exported, "--core", "m4"), 2, "--core and --poses are for --target mcu")
