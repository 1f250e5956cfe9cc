"""edgekin doctor: this machine, and parts of other machines that lack something."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from edgekin.cli import cli
from edgekin.doctor import System, examine
from edgekin.doctor.jobs import examine_jobs
from edgekin.doctor.realtime import examine_realtime
from edgekin.errors import EdgekinError

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def system(tmp_path):
    """A function that makes a machine of files, of packages (name -> source) and of programs in PATH."""

    def make(files=None, packages=None, programs=()):
        root, path, site = tmp_path / "root", tmp_path / "bin", tmp_path / "site"
        for folder in (root / "dev/shm", path, site):
            folder.mkdir(parents=True, exist_ok=True)
        for name, text in (files or {}).items():
            place = root / name.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        for name, source in (packages or {}).items():
            (site / f"{name}.py").write_text(source)
        for name in programs:
            (path / name).write_text("#!/bin/sh\n")
            (path / name).chmod(0o755)
        environment = {**os.environ, "PATH": str(path), "PYTHONPATH": str(site)}
        # -S: of what is installed here nothing is seen.
        python = path / "python-alone"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
        python.chmod(0o755)
        return System(root, str(python), environment)

    return make


def rows(findings):
    return {finding.name: finding for finding in findings}


def test_this_machine_can_run_the_base_job_and_says_so_as_json(tmp_path):
    out = tmp_path / "doctor.json"
    done = CliRunner().invoke(cli, ["doctor", "--json", str(out)])
    assert done.exit_code == 0, done.output
    for word in ("native engine", "tensorrt-rtx", "SCHED_FIFO", "remedy"):
        assert word in done.output
    result = json.loads(out.read_text())
    assert (next(iter(result)), result["schema"], result["base_job"]) == ("schema", "edgekin.doctor/1", True)
    found = {row["name"]: row for row in result["findings"]}
    assert "scalar" in found["native engine"]["detail"]
    assert found["native engine"]["base"]
    for row in found.values():
        assert row["status"] in ("ok", "warning", "missing")
        assert row["remedy"] or row["status"] == "ok", row
    again = CliRunner().invoke(cli, ["doctor", "--json", str(out)])
    assert isinstance(again.exception, EdgekinError)


def test_without_the_engine_the_base_job_cannot_run(monkeypatch, system):
    monkeypatch.setitem(sys.modules, "edgekin.runtime.engine", None)
    result = examine(system())
    assert not result.base_job
    assert "does not load" in rows(result.findings)["native engine"].detail


def test_nothing_installed_is_named_with_what_to_run(system):
    found = rows(examine_jobs(system()))
    assert found["training"].status == "missing"
    assert found["training"].remedy == "Run: pip install 'edgekin[train]'"
    assert "No module named 'torch'" in found["training"].detail
    assert found["microcontrollers"].remedy == ("Run: apt-get install gcc-arm-none-eabi gcc-riscv64-unknown-elf "
                                                "qemu-system-arm qemu-system-misc")
    assert "CUDA toolkit" in found["cuda (PyCUDA)"].remedy


def test_cross_compilers_that_are_there_are_found(system):
    programs = ("arm-none-eabi-gcc", "qemu-system-arm", "riscv64-unknown-elf-gcc", "qemu-system-riscv32")
    assert rows(examine_jobs(system(programs=programs)))["microcontrollers"].status == "ok"
    found = rows(examine_jobs(system(programs=programs[:2])))["microcontrollers"]
    assert found.status == "ok"  # the folder still holds all four
    (system().root.parent / "bin/qemu-system-riscv32").unlink()
    found = rows(examine_jobs(system()))["microcontrollers"]
    assert (found.status, found.remedy) == ("missing", "Run: apt-get install qemu-system-misc")


def test_a_package_that_breaks_at_import_says_how(system):
    packages = {"tensorrt": "raise ImportError('libnvinfer.so.10: cannot open shared object file')",
                "onnxruntime": "__version__ = '1.0'\nprint('a banner')", "pybullet": "import os\nos._exit(7)"}
    found = rows(examine_jobs(system(packages=packages)))
    assert "libnvinfer.so.10" in found["tensorrt"].detail
    assert (found["onnxruntime"].status, found["onnxruntime"].detail) == ("ok", "onnxruntime 1.0")
    assert found["simulation and bench"].detail == "pybullet: ended with status 7"


def test_an_environment_that_does_not_see_apts_tensorrt_gets_the_remedy(system):
    found = rows(examine_jobs(system({f"/usr/lib/python{HERE}/dist-packages/tensorrt/__init__.py": ""})))
    assert f"python{HERE} -m venv --system-site-packages" in found["tensorrt"].remedy


def test_apts_tensorrt_for_another_python_names_that_python(system):
    found = rows(examine_jobs(system({"/usr/lib/python3.8/dist-packages/tensorrt/__init__.py": ""})))
    assert f"are for Python 3.8, this is {HERE}" in found["tensorrt"].remedy


def test_pycuda_is_sent_to_the_toolkit_that_it_is_built_with(system):
    made = system({"/usr/local/cuda/bin/nvcc": "", "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3\n"})
    assert "export PATH=/usr/local/cuda/bin" in rows(examine_jobs(made))["cuda (PyCUDA)"].remedy
    (made.root / "usr/local/cuda/bin/nvcc").unlink()
    assert "jetson_setup/02_packages.sh" in rows(examine_jobs(made))["cuda (PyCUDA)"].remedy
    assert rows(examine_jobs(system(programs=("nvcc",))))["cuda (PyCUDA)"].remedy == (
        "Run: pip install 'edgekin[nvidia]'")


def test_a_missing_driver_is_not_answered_with_a_package(system, monkeypatch):
    monkeypatch.setenv("EDGEKIN_LIBCUDA", "libno-such-driver.so.1")
    found = rows(examine_jobs(system(packages={"pycuda": "raise ImportError('libcuda.so.1: cannot open')"})))
    assert "libno-such-driver" in found["NVIDIA GPU"].detail
    assert found["cuda (PyCUDA)"].remedy == found["NVIDIA GPU"].remedy
    assert "driver" in found["NVIDIA GPU"].remedy


def cpu(governor, least, most):
    folder = "/sys/devices/system/cpu/cpu0/cpufreq"
    return {f"{folder}/scaling_governor": governor, f"{folder}/scaling_min_freq": least,
            f"{folder}/scaling_max_freq": most}


@pytest.mark.parametrize(("files", "governor", "clocks"), [
    (cpu("powersave\n", "800000\n", "3000000\n"), "warning", "warning"),
    (cpu("performance\n", "800000\n", "3000000\n"), "ok", "warning"),
    (cpu("schedutil\n", "1728000\n", "1728000\n"), "ok", "ok"),
    ({}, "ok", "ok"),
])
def test_a_governor_that_slows_down_and_clocks_that_move_are_warned_of(system, files, governor, clocks):
    found = rows(examine_realtime(system(files)))
    assert (found["governor"].status, found["CPU clocks"].status) == (governor, clocks)
    assert found["kernel"].status == "warning"


def test_on_a_jetson_gpu_and_memory_clocks_are_looked_at(system):
    gpu, emc = "/sys/class/devfreq/17000000.gpu", "/sys/kernel/debug/bpmp/debug/clk/emc"
    files = {"/etc/nv_tegra_release": "#", "/sys/kernel/realtime": "1\n", f"{gpu}/min_freq": "306000000\n",
             f"{gpu}/max_freq": "918000000\n", f"{emc}/mrq_rate_locked": "0\n", f"{emc}/rate": "665600000\n"}
    found = rows(examine_realtime(system(files)))
    assert found["kernel"].status == "ok"
    assert (found["GPU clock"].status, found["memory clock"].status) == ("warning", "warning")
    assert "03_clocks.sh" in found["memory clock"].remedy
    found = rows(examine_realtime(system({f"{gpu}/min_freq": "918000000\n", f"{emc}/mrq_rate_locked": "1\n"})))
    assert (found["GPU clock"].status, found["memory clock"].detail) == ("ok", "locked at 665600000 Hz")


#: Gives up what root and raised limits permit, then looks.
POWERLESS = """
import json, os, resource
from edgekin.doctor.realtime import _locked_memory, _priority
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
if os.geteuid() == 0:
    os.setuid(65534)
print(json.dumps([[row.status, row.detail, row.remedy] for row in (_priority(), _locked_memory())]))
"""


def test_refused_priority_and_memory_name_limit_and_remedy():
    done = subprocess.run([sys.executable, "-c", POWERLESS], capture_output=True, text=True)
    priority, memory = json.loads(done.stdout)
    assert priority[0] == memory[0] == "warning"
    assert "rtprio limit 0" in priority[1]
    assert "memlock limit 65536 bytes" in memory[1]
    assert "limits.d" in priority[2]
    assert "limits.d" in memory[2]
