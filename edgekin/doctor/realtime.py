"""Whether the loop gets what it asks the system for: priority, locked memory, steady clocks, a CPU of its own."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
from pathlib import Path

from edgekin.doctor.system import MISSING, OK, WARNING, Finding, System

SECTION = "real time"
PRIORITY = 40  # what the loop asks for: runtime.loop.LoopConfig
LOCKED_BYTES = 64 << 20  # the budget of a device's process, once over
LIMITS = "add to /etc/security/limits.d/90-edgekin.conf and log in again"
CPUFREQ = "/sys/devices/system/cpu/cpu*/cpufreq"
EMC = "/sys/kernel/debug/bpmp/debug/clk/emc"


def examine_realtime(system: System) -> list[Finding]:
    """Return the rows of the loop's surroundings."""
    return [_priority(), _locked_memory(), _kernel(system), _cpus(system), _governor(system), _clocks(system),
            *_jetson(system)]


def _priority() -> Finding:
    """Ask for the policy, and give it back: limits, capabilities and containers all have a say."""
    before, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    name = f"SCHED_FIFO {PRIORITY}"
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except OSError as error:
        most = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
        return Finding(SECTION, name, WARNING, f"refused ({error.strerror}; rtprio limit {most}): ticks are missed "
                       "under load", f"'YOU - rtprio 49': {LIMITS}; or give CAP_SYS_NICE")
    os.sched_setscheduler(0, before, parameters)
    return Finding(SECTION, name, OK, "permitted")


def _locked_memory() -> Finding:
    """Lock as much as the loop's process needs, and let go of it."""
    libc = ctypes.CDLL(None, use_errno=True)
    with mmap.mmap(-1, LOCKED_BYTES) as block:
        first = (ctypes.c_char * LOCKED_BYTES).from_buffer(block)
        failed = libc.mlock(ctypes.byref(first), ctypes.c_size_t(LOCKED_BYTES))
        error = os.strerror(ctypes.get_errno())
        libc.munlock(ctypes.byref(first), ctypes.c_size_t(LOCKED_BYTES))
        del first
    wanted = f"{LOCKED_BYTES >> 20} MiB"
    if failed:
        most = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
        return Finding(SECTION, "locked memory", WARNING, f"{wanted} refused ({error}; memlock limit {most} bytes)",
                       f"'YOU - memlock 262144': {LIMITS}; or give CAP_IPC_LOCK")
    return Finding(SECTION, "locked memory", OK, f"{wanted} permitted")


def _kernel(system: System) -> Finding:
    if system.read("/sys/kernel/realtime") == "1":
        return Finding(SECTION, "kernel", OK, "PREEMPT_RT")
    remedy = "Run: sudo jetson_setup/04_realtime.sh" if system.is_jetson else "Install a kernel with PREEMPT_RT"
    return Finding(SECTION, "kernel", WARNING, "no PREEMPT_RT: the worst wake-ups take longer", remedy)


def _cpus(system: System) -> Finding:
    usable, isolated = len(os.sched_getaffinity(0)), system.read("/sys/devices/system/cpu/isolated")
    if usable < 2 and not isolated:
        return Finding(SECTION, "CPUs", WARNING, f"{usable}: loop and driver share it",
                       "Use a machine with two or more")
    return Finding(SECTION, "CPUs", OK, f"{usable} usable, isolated: {isolated or 'none'}")


def _governor(system: System) -> Finding:
    found = sorted({system.read(_inside(system, folder, "scaling_governor")) for folder in system.glob(CPUFREQ)})
    if not found:
        return Finding(SECTION, "governor", OK, "none here: the clocks are not this kernel's (a virtual machine)")
    # Locked clocks leave a governor nothing to do; jetson_clocks keeps its schedutil.
    if found == ["performance"] or _locked(system):
        return Finding(SECTION, "governor", OK, ", ".join(found))
    return Finding(SECTION, "governor", WARNING, f"{', '.join(found)}: a tick after a pause begins at a low clock",
                   "Run: sudo cpupower frequency-set -g performance")


def _clocks(system: System) -> Finding:
    if not system.glob(CPUFREQ):
        return Finding(SECTION, "CPU clocks", OK, "not readable here")
    if _locked(system):
        return Finding(SECTION, "CPU clocks", OK, "locked: least and largest are the same")
    remedy = "Run: sudo jetson_setup/03_clocks.sh" if system.is_jetson else (
        "Raise scaling_min_freq to scaling_max_freq for runs that you compare")
    return Finding(SECTION, "CPU clocks", WARNING, "not locked: two runs differ by more than their code",
                   remedy)


def _locked(system: System) -> bool:
    folders = system.glob(CPUFREQ)
    return bool(folders) and all(
        system.read(_inside(system, folder, "scaling_min_freq"))
        == system.read(_inside(system, folder, "scaling_max_freq")) != "" for folder in folders)


def _inside(system: System, folder: Path, name: str) -> str:
    return str((folder / name).relative_to(system.root))


def _jetson(system: System) -> list[Finding]:
    if not system.is_jetson:
        return []
    remedy = "Run: sudo jetson_setup/03_clocks.sh"
    gpus = [*system.glob("/sys/class/devfreq/*.gpu"), *system.glob("/sys/class/devfreq/*.ga10b")]
    pairs = {(system.read(_inside(system, gpu, "min_freq")), system.read(_inside(system, gpu, "max_freq")))
             for gpu in gpus}
    locked = bool(pairs) and all(least == most for least, most in pairs)
    rows = [Finding(SECTION, "GPU clock", OK if locked else WARNING, "locked" if locked else "not locked",
                    "" if locked else remedy)]
    emc = system.read(f"{EMC}/mrq_rate_locked")
    if not emc:
        return [*rows, Finding(SECTION, "memory clock", MISSING, "only root may read it",
                               "Run: sudo jetson_setup/01_check.sh")]
    held = emc == "1"
    return [*rows, Finding(SECTION, "memory clock", OK if held else WARNING,
                           f"{'locked at' if held else 'not locked, now'} {system.read(f'{EMC}/rate')} Hz",
                           "" if held else remedy)]
