"""Energy and clocks of a run: counters that wrap, sensors, GPUs, throttling, and sources that are not there.

This machine may have none of them: the files are those that the kernel's documentation describes, the packages answer
as jetson-stats 4 and nvidia-ml-py do.
"""

import sys
import types
from pathlib import Path

import pytest

from edgekin.runtime import power
from edgekin.runtime.clocks import ClockWatch
from edgekin.runtime.power import Energy, PowerMeter, PowerReport


def write(root, files):
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def rapl(number, energy_uj):
    folder = f"/sys/class/powercap/intel-rapl:{number}"
    return {f"{folder}/name": f"package-{number}", f"{folder}/energy_uj": energy_uj,
            f"{folder}/max_energy_range_uj": 1_000_000, f"{folder}:0/energy_uj": 5, f"{folder}:0/name": "core"}


class NVMLError(Exception):
    pass


def nvml(energy_mj=(1000, 4500), reasons=0, working=True):
    """A module that answers as nvidia-ml-py does."""
    module, energies = types.ModuleType("pynvml"), iter((energy_mj[0], *energy_mj))
    module.NVMLError, module.NVML_CLOCK_SM, module.NVML_CLOCK_MEM = NVMLError, 1, 2

    def init():
        if not working:
            raise NVMLError("NVML Shared Library Not Found")

    module.nvmlInit = init
    module.nvmlDeviceGetHandleByIndex = lambda index: "gpu"
    module.nvmlDeviceGetName = lambda gpu: b"Test GPU"
    module.nvmlDeviceGetTotalEnergyConsumption = lambda gpu: next(energies)
    module.nvmlDeviceGetClockInfo = lambda gpu, kind: {1: 1980, 2: 2619}[kind]
    module.nvmlDeviceGetCurrentClocksThrottleReasons = lambda gpu: reasons
    return module


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """Neither NVML nor jetson-stats, whatever is installed here."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setitem(sys.modules, "jtop", None)


def test_the_packages_energies_add_up_and_a_counter_may_go_around(tmp_path):
    meter = PowerMeter(write(tmp_path, {**rapl(0, 900_000), **rapl(1, 100)}))
    meter.begin()
    write(tmp_path, {**rapl(0, 200_000), **rapl(1, 200_100)})
    meter.sample()
    write(tmp_path, rapl(0, 700_000))
    report = meter.end()
    (energy,) = report.energies
    assert (energy.source, energy.scope) == ("RAPL package-0, package-1", "cpu")
    assert energy.joules == pytest.approx(0.3 + 0.5 + 0.2)
    assert report.why_not["board"] == "not a Jetson"
    assert "nvidia-ml-py" in report.why_not["nvml"]


def test_counters_that_only_root_may_read_are_said_to_be(tmp_path, monkeypatch):
    write(tmp_path, rapl(0, 1))
    read = Path.read_text

    def refused(path, *args, **kwargs):
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", refused)
    report_of = PowerMeter(tmp_path)
    report_of.begin()
    report = report_of.end()
    assert "root alone" in report.why_not["rapl"]
    assert report.mean_w is None
    content = report.to_json(1000, 1.0)
    assert content["energy_per_tick_mj"] is None
    assert content["sources"] == []


def test_a_jetsons_sensors_are_integrated_over_time(tmp_path, monkeypatch):
    now = [0]
    monkeypatch.setattr(power.time, "monotonic_ns", lambda: now[0])
    chip = "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
    files = {"/etc/nv_tegra_release": "#"}
    for channel, label, mv, ma in ((1, "VDD_IN", 5000, 1000), (2, "VDD_CPU_GPU_CV", 5000, 400)):
        files |= {f"{chip}/in{channel}_label": label, f"{chip}/in{channel}_input": mv,
                  f"{chip}/curr{channel}_input": ma}
    meter = PowerMeter(write(tmp_path, files))
    meter.begin()
    now[0] = int(2e9)
    write(tmp_path, {f"{chip}/curr1_input": 3000})
    report = meter.end()
    (energy,) = report.energies
    assert energy.source == "INA3221 VDD_IN"  # not twice what is part of it
    assert energy.joules == pytest.approx(2 * (5 + 15) / 2)
    assert report.to_json(ticks=2000, seconds=2.0)["energy_per_tick_mj"] == pytest.approx(10.0)


def test_boards_without_a_whole_rail_add_their_rails(tmp_path):
    chip = "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
    files = {"/etc/nv_tegra_release": "#"}
    for channel, label in ((1, "VDD_GPU_SOC"), (2, "VDD_CPU_CV"), (3, "")):
        files |= {f"{chip}/in{channel}_input": 5000, f"{chip}/curr{channel}_input": 200}
        if label:
            files[f"{chip}/in{channel}_label"] = label
    source = power.open_board(write(tmp_path, files))
    assert source.name == "INA3221 VDD_GPU_SOC + VDD_CPU_CV"
    assert source.watts() == pytest.approx(2.0)
    assert "no INA3221" in power.open_board(write(tmp_path / "other", {"/etc/nv_tegra_release": "#"}))


def test_jetson_stats_is_asked_where_it_runs(tmp_path, monkeypatch):
    class Client:
        def __init__(self):
            self.power, self.closed = {"tot": {"power": 7500}}, False

        def start(self):
            pass

        def close(self):
            self.closed = True

    made = []
    module = types.ModuleType("jtop")
    module.jtop = lambda: made.append(Client()) or made[-1]
    monkeypatch.setitem(sys.modules, "jtop", module)
    now = [0]
    monkeypatch.setattr(power.time, "monotonic_ns", lambda: now[0])
    meter = PowerMeter(write(tmp_path, {"/etc/nv_tegra_release": "#"}))
    meter.begin()
    now[0] = int(3e9)
    report = meter.end()
    assert [(e.source, e.scope) for e in report.energies] == [("jetson-stats", "board")]
    assert report.energies[0].joules == pytest.approx(22.5)
    assert made[0].closed

    def refuse(self):
        raise RuntimeError("The jtop.service is not active")

    Client.start = refuse
    assert "jtop.service is not active" in power.open_board(tmp_path)


def test_a_gpus_counter_is_read_and_a_missing_driver_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    meter = PowerMeter(tmp_path)
    meter.begin()
    (energy,) = meter.end().energies
    assert (energy.source, energy.scope, energy.joules) == ("NVML Test GPU", "gpu", 3.5)
    monkeypatch.setitem(sys.modules, "pynvml", nvml(working=False))
    assert power.open_nvml() == "NVML: NVML Shared Library Not Found"


def test_cpu_and_gpu_add_up_but_the_board_is_all_of_it():
    cpu, gpu, board = (Energy(scope, scope, 1.0, watts) for scope, watts in (("cpu", 10), ("gpu", 20), ("board", 40)))
    assert PowerReport(1.0, (cpu, gpu), {}).mean_w == 30
    assert PowerReport(1.0, (cpu, board), {}).mean_w == 40


def test_a_source_that_fails_during_the_run_is_left_out(tmp_path):
    meter = PowerMeter(write(tmp_path, rapl(0, 1)))
    meter.begin()
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    meter.sample()
    report = meter.end()
    assert report.energies == ()
    assert "stopped answering" in report.why_not["RAPL package-0"]


def test_clocks_before_and_after_and_what_throttled_between(tmp_path):
    cpu = "/sys/devices/system/cpu/cpu3"
    files = {f"{cpu}/cpufreq/scaling_cur_freq": 3_000_000, f"{cpu}/cpufreq/scaling_min_freq": 3_000_000,
             f"{cpu}/cpufreq/scaling_max_freq": 3_000_000, f"{cpu}/cpufreq/scaling_governor": "performance",
             f"{cpu}/thermal_throttle/core_throttle_count": 4, f"{cpu}/thermal_throttle/package_throttle_count": 7,
             "/sys/class/thermal/thermal_zone0/temp": 61500}
    watch = ClockWatch(3, write(tmp_path, files))
    watch.begin()
    write(tmp_path, {f"{cpu}/cpufreq/scaling_cur_freq": 2_100_000,
                     f"{cpu}/thermal_throttle/package_throttle_count": 9})
    report = watch.end()
    assert (report.before.cpu_mhz, report.after.cpu_mhz) == (3000, 2100)
    assert (report.throttle_events, report.throttled_by) == (2, ("CPU package",))
    assert (report.locked, report.governor, report.temperature_c) == (True, "performance", 61.5)
    assert set(report.why_not) == {"gpu_mhz", "memory_mhz"}


def test_a_jetsons_gpu_memory_and_over_current_events(tmp_path):
    files = {"/etc/nv_tegra_release": "#", "/sys/class/devfreq/17000000.gpu/cur_freq": 918_000_000,
             "/sys/kernel/debug/bpmp/debug/clk/emc/rate": 3_199_000_000, "/sys/class/hwmon/hwmon2/oc3_event_cnt": 0,
             "/sys/class/thermal/cooling_device0/type": "pwm-fan", "/sys/class/thermal/cooling_device0/cur_state": 2,
             "/sys/class/thermal/cooling_device1/type": "cpu-throttle-alert",
             "/sys/class/thermal/cooling_device1/cur_state": 1}
    watch = ClockWatch(-1, write(tmp_path, files))
    watch.begin()
    write(tmp_path, {"/sys/class/hwmon/hwmon2/oc3_event_cnt": 5})
    report = watch.end()
    assert (report.after.gpu_mhz, report.after.memory_mhz) == (918, 3199)
    assert report.throttle_events == 5
    assert report.throttled_by == ("cooling by cpu-throttle-alert", "over-current oc3")


def test_a_discrete_gpus_clocks_and_reasons(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", nvml(reasons=0x1 | 0x4 | 0x40))
    watch = ClockWatch(0, tmp_path)
    watch.begin()
    report = watch.end()
    assert (report.after.gpu_mhz, report.after.memory_mhz) == (1980, 2619)
    assert report.throttled_by == ("GPU power cap", "GPU thermal (hardware)")


def test_where_nothing_tells_every_field_says_why(tmp_path):
    watch = ClockWatch(1, write(tmp_path, {"/proc/cpuinfo": "processor\t: 0\ncpu MHz\t\t: 2500.0\n\n"
                                                            "processor\t: 1\ncpu MHz\t\t: 1996.2"}))
    watch.begin()
    report = watch.end()
    assert report.before.cpu_mhz == 1996.2
    content = report.to_json()
    for name in ("governor", "locked", "throttle_events", "temperature_c"):
        assert content[name] is None
        assert content["why_not"][name]
    assert content["throttled_by"] == []
