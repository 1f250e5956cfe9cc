"""Recorded states of Jetsons: a tree of files, and commands that answer from it."""

import os
import subprocess
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
SETUP = HERE.parents[2] / "jetson_setup"
STATES = sorted(path.stem for path in (HERE / "states").glob("*.yaml"))
LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max locked memory         67108864             67108864             bytes
Max realtime priority     0                    0
"""


def build(state, root):
    """Write the tree of a recorded state under a folder."""
    content = yaml.safe_load((HERE / "states" / f"{state}.yaml").read_text())
    cpus, gpu, emc = content["cpus"], content["gpu"], content["emc"]
    files = dict(content["files"])
    files["/etc/group"] = "root:x:0:\n"
    files["/proc/self/limits"] = LIMITS
    for name in ("possible", "online"):
        files[f"/sys/devices/system/cpu/{name}"] = f"0-{cpus[name] - 1}\n"
    files["/sys/devices/system/cpu/isolated"] = "\n"
    for i in range(cpus["possible"]):
        for name, value in (("min", cpus["min"]), ("max", cpus["max"])):
            files[f"/sys/devices/system/cpu/cpu{i}/cpufreq/scaling_{name}_freq"] = f"{value}\n"
    for name in ("min", "max"):
        files[f"/sys/class/devfreq/{gpu['folder']}/{name}_freq"] = f"{gpu[name]}\n"
    debug = "/sys/kernel/debug/bpmp/debug/clk/emc"
    files |= {f"{debug}/rate": f"{emc['rate']}\n", f"{debug}/max_rate": f"{emc['max']}\n",
              f"{debug}/mrq_rate_locked": "0\n", emc["cap_file"]: f"{emc['cap']}\n"}
    files |= {f"/.machine/{name}": f"{content[name]}\n" for name in ("kernel", "python", "tensorrt", "power_mode")}
    files |= {"/.machine/packages": "".join(f"{name}\n" for name in content["packages"]), "/.machine/log": ""}
    # What switching back to the first power mode restores.
    files |= {"/.machine/power_mode.first": f"{content['power_mode']}\n",
              "/.machine/online": files["/sys/devices/system/cpu/online"]}
    for path, text in files.items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(0o755 if "/bin/" in path else 0o644)
    return root


def contents(root):
    """Return every file and link of a tree, without the log of the commands."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name != ".machine/log":
            found[name] = os.readlink(path) if path.is_symlink() else path.is_dir() or path.read_bytes()
    return found


def log(root):
    """Return what the commands were told to change."""
    return (root / ".machine/log").read_text().splitlines()


def script(name, root, *args, **env):
    """Run one of the scripts on a tree."""
    path = f"{HERE / 'bin'}:/usr/bin:/bin"
    return subprocess.run(["bash", str(SETUP / name), *map(str, args)], capture_output=True, text=True, timeout=60,
                          env={"PATH": path, "EDGEKIN_ROOT": str(root), "EDGEKIN_SOURCE": "edgekin.whl", **env})
