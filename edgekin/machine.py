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
