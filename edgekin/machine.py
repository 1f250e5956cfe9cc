"""What machine is this: the facts that every recorded measurement carries."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

#: Where the number of a CPU is asked for: the last one that may be used.
AUTO_CPU = -2


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def cpu_model() -> str:
    """Return the CPU's name as the kernel gives it, or the architecture."""
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model") and value.strip():
            return value.strip()
    return _read("/proc/device-tree/model").rstrip("\0") or platform.machine()


#: First model number, from 0 on, of every generation in the CPU families of AMD, which clouds sell under one name.
#: Source: AMD's processor programming references, as the Linux kernel reads them (arch/x86/kernel/cpu/amd.c).
_AMD = {
    23: ((0x00, "Zen 1"), (0x30, "Zen 2")),
    25: ((0x00, "Zen 3"), (0x10, "Zen 4"), (0x20, "Zen 3"), (0x60, "Zen 4"), (0x80, "Zen 3"), (0xA0, "Zen 4")),
    26: ((0x00, "Zen 5"),),
}


def cpu_generation() -> str:
    """Return which of its maker's designs the CPU is where its name may hide that ("Zen 5"), else ""."""
    info = dict(part for line in _read("/proc/cpuinfo").split("\n\n", 1)[0].splitlines()
                if len(part := [half.strip() for half in line.split(":", 1)]) == 2)
    try:
        family, model = int(info["cpu family"]), int(info["model"])
    except (KeyError, ValueError):
        return ""
    known = _AMD.get(family, ()) if info.get("vendor_id") == "AuthenticAMD" else ()
    return next((name for first, name in reversed(known) if model >= first), "")


def isa_features() -> list[str]:
    """Return the vector extensions that matter to the engines and that this CPU has."""
    wanted = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "asimd", "asimddp", "i8mm", "sve")
    flags: set[str] = set()
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            flags.update(value.split())
            break
    return [f for f in wanted if f in flags]


def _git(folder: Path, *args: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *args], capture_output=True, text=True, check=True, timeout=5)
    return done.stdout.strip()


def revision() -> str:
    """Return the git revision of the checkout that this package runs from ("+dirty" when changed), or its version."""
    root = Path(__file__).resolve().parents[1]
    if (root / ".git").exists():
        try:
            head = _git(root, "rev-parse", "--short=12", "HEAD")
            return head + ("+dirty" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
        except (OSError, subprocess.SubprocessError):
            pass
    from edgekin import __version__

    return f"v{__version__}"


def describe() -> dict[str, Any]:
    """Return this machine as a JSON-ready mapping: CPU, cores, ISA, kernel, RT, governor, memory, Python."""
    import psutil

    return {
        "cpu": cpu_model(),
        "generation": cpu_generation(),
        "arch": platform.machine(),
        "cores": os.cpu_count(),
        "isa": isa_features(),
        "kernel": platform.release(),
        "preempt_rt": _read("/sys/kernel/realtime") == "1",
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "unknown",
        "virtual": "hypervisor" in _read("/proc/cpuinfo"),
        "memory_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
    }


def peak_rss_mb() -> float:
    """Return this process's peak resident memory (proc(5), VmHWM), 10^6 bytes; 0 where the kernel does not say."""
    for line in _read("/proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0
