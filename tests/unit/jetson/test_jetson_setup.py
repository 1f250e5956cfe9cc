"""jetson_setup/ against recorded states of Jetsons: what is planned, done, done twice, undone. No Jetson is measured.

`EDGEKIN_RECORD=1 pytest tests/unit/jetson` writes the plans anew; look at what changed.
"""

import os
import shutil
import subprocess

import pytest
from recorded import HERE, SETUP, STATES, build, contents, log, script

SERVICE = ("--bundle", "/srv/bundle", "--ring", "/dev/shm/arm.ring", "--user", "robot")
CHECKS = ("01_check.sh", "06_verify.sh")
CHANGES = ("02_packages.sh", "03_clocks.sh", "04_realtime.sh", "05_service.sh")
#: JetPack 5 has Python 3.8: another one is asked for.
PYTHON = {"jetpack-5.1.2": {"EDGEKIN_PYTHON": "python3.10"}}


@pytest.fixture
def root(tmp_path, request):
    """The tree of a recorded state, with a bundle in it."""
    tree = build(request.param if hasattr(request, "param") else "jetpack-6.2", tmp_path / "root")
    (tree / "srv/bundle").mkdir(parents=True)
    (tree / "srv/bundle/manifest.json").write_text("{}")
    return tree


@pytest.fixture
def run(root, tmp_path, request):
    """A function that runs a script on the tree."""
    state = request.node.callspec.params.get("root", "") if hasattr(request.node, "callspec") else ""
    env = PYTHON.get(state, {})
    if env:  # beside the system's
        other = tmp_path / "python/bin"
        other.mkdir(parents=True)
        shutil.copy(HERE / "bin/python3", other / "python3.10")
        text = (other / "python3.10").read_text().replace('cat "$machine/python"', "echo 3.10")
        (other / "python3.10").write_text(text.replace("grep -qx python3-libnvinfer", "false && grep -qx"))
        env = {"EDGEKIN_PYTHON": str(other / "python3.10")}

    def call(name, *args, **more):
        extra = SERVICE if name == "05_service.sh" and "--undo" not in args else ()
        return script(name, root, *args, *extra, **{**env, **more})

    return call


def shown(done):
    assert "Traceback" not in done.stderr
    return f"# exit status {done.returncode}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("state", STATES)
def test_a_dry_run_prints_the_recorded_plan_and_changes_nothing(state, tmp_path):
    tree = build(state, tmp_path / "root")
    (tree / "srv/bundle").mkdir(parents=True)
    (tree / "srv/bundle/manifest.json").write_text("{}")
    before, plan = contents(tree), ""
    for name in sorted({*CHECKS, *CHANGES}):
        extra = SERVICE if name == "05_service.sh" else ()
        plan += f"$ {name} --dry-run\n{shown(script(name, tree, '--dry-run', *extra))}\n"
    assert contents(tree) == before
    assert log(tree) == []
    recorded = HERE / "plans" / f"{state}.txt"
    if os.environ.get("EDGEKIN_RECORD"):
        recorded.write_text(plan)
    assert plan == recorded.read_text()


@pytest.mark.parametrize("root", STATES, indirect=True)
def test_the_second_run_has_nothing_to_do_and_undo_leaves_what_was_there(root, run):
    before = contents(root)
    for name in CHANGES:
        first = run(name)
        assert first.returncode == 0, first.stdout + first.stderr
        assert "done   0" not in first.stdout
    after, told = contents(root), log(root)
    for name in CHANGES:
        again = run(name)
        assert "done   0 changes" in again.stdout, again.stdout + again.stderr
    assert contents(root) == after
    assert log(root) == told
    for name in reversed(CHANGES):
        dry = run(name, "--undo", "--dry-run")
        assert dry.returncode == 0, dry.stderr
        assert "would" in dry.stdout
    assert contents(root) == after
    for name in reversed(CHANGES):
        undone = run(name, "--undo")
        assert undone.returncode == 0, undone.stdout + undone.stderr
    assert without_empty_folders(contents(root)) == without_empty_folders(before)


def without_empty_folders(tree):
    return {name: content for name, content in tree.items() if content is not True}


@pytest.mark.parametrize("name", CHANGES)
def test_undoing_what_was_never_done_changes_nothing(root, run, name):
    before = contents(root)
    done = run(name, "--undo")
    assert (done.returncode, done.stdout) == (0, "done   0 changes\n")
    assert contents(root) == before
    assert log(root) == []


def test_after_a_reboot_the_verification_passes_and_runs_doctor_and_bench(root, run):
    for name in CHANGES:
        assert run(name).returncode == 0
    assert run("06_verify.sh").returncode == 1  # the kernel and the CPU come with the reboot
    (root / "sys/kernel/realtime").write_text("1\n")
    (root / "sys/devices/system/cpu/isolated").write_text("5\n")
    done = run("06_verify.sh", "--bundle", "/srv/bundle")
    assert done.returncode == 0, done.stdout + done.stderr
    ran = [line for line in log(root) if line.startswith("edgekin")]
    assert ran[0] == "edgekin doctor"
    assert ran[-1] == f"edgekin bench {root}/srv/bundle --hz 1000 --seconds 30 --cpu 5 --max-miss-rate 0.001"


def test_the_orin_nano_goes_to_its_super_mode_and_back(root, run):
    assert run("03_clocks.sh").returncode == 0
    assert log(root)[:3] == ["jetson_clocks --store /var/lib/edgekin/setup/jetson_clocks.conf", "nvpmodel -m 2",
                             "jetson_clocks "]
    assert (root / "sys/class/devfreq/17000000.gpu/min_freq").read_text() == "918000000\n"
    assert (root / "sys/kernel/debug/bpmp/debug/clk/emc/mrq_rate_locked").read_text() == "1\n"
    assert run("03_clocks.sh", "--undo").returncode == 0
    assert (root / ".machine/power_mode").read_text() == "1\n"
    assert (root / "sys/kernel/debug/bpmp/debug/clk/emc/mrq_rate_locked").read_text() == "0\n"


def test_a_mode_that_needs_a_reboot_is_said_not_forced(root, run):
    (root / ".machine/needs_reboot").write_text("2\n")
    done = run("03_clocks.sh")
    assert done.returncode == 1
    assert "needs a reboot" in done.stderr
    assert "nvpmodel -m 2" in done.stderr


def test_words_of_an_earlier_isolation_are_replaced_not_repeated(root, run):
    boot = root / "boot/extlinux/extlinux.conf"
    boot.write_text(boot.read_text().replace("nospectre_bhb", "nospectre_bhb isolcpus=3"))
    assert run("04_realtime.sh").returncode == 0
    for line in boot.read_text().splitlines():
        if "APPEND" in line:
            assert line.count("isolcpus=") == 1
            assert line.endswith("isolcpus=managed_irq,domain,5 nohz_full=5 rcu_nocbs=5 irqaffinity=0-4")
    assert "DEFAULT real-time" in boot.read_text()


def test_a_boot_file_that_was_changed_since_is_not_overwritten(root, run):
    assert run("04_realtime.sh").returncode == 0
    boot = root / "boot/extlinux/extlinux.conf"
    boot.write_text(boot.read_text() + "# by hand\n")
    done = run("04_realtime.sh", "--undo")
    assert done.returncode == 1
    assert "was changed since" in done.stderr
    assert boot.read_text().endswith("# by hand\n")


def test_without_kernel_and_isolation_the_boot_file_stays(root, run):
    before = (root / "boot/extlinux/extlinux.conf").read_bytes()
    assert run("04_realtime.sh", "--no-kernel", "--no-isolation").returncode == 0
    assert (root / "boot/extlinux/extlinux.conf").read_bytes() == before
    assert (root / "etc/security/limits.d/90-edgekin.conf").exists()
    assert not any(line.startswith("apt-get") for line in log(root))


@pytest.mark.parametrize("root", ["jetpack-5.1.2"], indirect=True)
def test_a_python_that_is_too_old_is_refused_before_anything_is_installed(root, run):
    before = contents(root)
    done = run("02_packages.sh", EDGEKIN_PYTHON="python3")
    assert done.returncode == 1
    assert "EDGEKIN_PYTHON" in done.stderr
    assert contents(root) == before


def test_bindings_that_the_environment_does_not_see_are_named_with_the_remedy(root, run):
    assert run("02_packages.sh").returncode == 0
    assert "ok     TensorRT bindings: 10.3.0" in run("01_check.sh").stdout
    (root / "opt/edgekin/venv/isolated").touch()  # as made without --system-site-packages
    assert "--system-site-packages" in run("01_check.sh").stdout


@pytest.mark.parametrize("name", [*CHECKS, *CHANGES])
def test_anything_but_a_jetson_is_one_clear_line(root, run, name):
    (root / "etc/nv_tegra_release").unlink()
    done = run(name)
    assert done.returncode == 1
    assert "not a Jetson" in done.stderr
    assert run(name, "--frobnicate").returncode == 2
    assert "usage: " in run(name, "--help").stdout


@pytest.mark.parametrize(("args", "status", "message"), [
    (("--bundle", "/nowhere", "--ring", "/dev/shm/r"), 1, "is no bundle"),
    (("--bundle", "/srv/bundle", "--ring", "/dev/shm/a b"), 1, "--ring"),
    (("--bundle", "/srv/bundle", "--ring", "/dev/shm/r", "--user", "x\nExecStart=/bin/sh"), 1, "--user"),
    (("--bundle", "/srv/bundle", "--ring", "/tmp/arm.ring"), 1, "a /tmp of its own"),
    (("--bundle", "/srv/bundle"), 2, "--ring is missing"),
])
def test_a_unit_is_not_written_from_bad_values(root, args, status, message):
    done = script("05_service.sh", root, *args)
    assert done.returncode == status
    assert message in done.stderr
    assert not (root / "etc/systemd").exists()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze: apt-get install systemd")
def test_systemd_finds_nothing_wrong_with_the_units(root, run, tmp_path):
    for name in ("02_packages.sh", "03_clocks.sh", "05_service.sh"):
        assert run(name).returncode == 0
    for name in ("edgekin", "edgekin-clocks"):
        text = (root / f"etc/systemd/system/{name}.service").read_text()
        unit = tmp_path / f"{name}.service"
        # Users and programs of the Jetson are not on this machine.
        unit.write_text(text.replace("User=robot", "User=root").replace("/opt/edgekin/venv/bin/edgekin", "/bin/true")
                        .replace("/usr/bin/jetson_clocks", "/bin/true"))
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
        mine = [line for line in (done.stdout + done.stderr).splitlines() if name in line]
        assert mine == []


def test_every_script_is_in_the_readme():
    text = (SETUP / "README.md").read_text()
    for path in SETUP.glob("0*.sh"):
        assert path.name in text
        assert os.access(path, os.X_OK)
