"""What this machine can run: engines, targets of `compile`, training, microcontrollers."""

from __future__ import annotations

import sys
from collections.abc import Callable

from edgekin import gpu
from edgekin.doctor.system import MISSING, OK, WARNING, Finding, Imported, System
from edgekin.errors import RuntimeFault

ENGINES, TARGETS, WORKSTATION = "runs here", "compiles here", "workstation"
#: (module, distribution) that the rows below speak of.
PACKAGES = (("torch", "torch"), ("pybullet", "pybullet"), ("safetensors", "safetensors"), ("onnx", "onnx"),
            ("onnxruntime", "onnxruntime"), ("tensorrt", "tensorrt"),
            ("tensorrt_rtx_bindings", "tensorrt_rtx_cu13_bindings"), ("pycuda.driver", "pycuda"))
#: Program -> Debian package that has it. Source: packages.debian.org, bookworm.
CROSS_TOOLS = {"arm-none-eabi-gcc": "gcc-arm-none-eabi", "qemu-system-arm": "qemu-system-arm",
               "riscv64-unknown-elf-gcc": "gcc-riscv64-unknown-elf", "qemu-system-riscv32": "qemu-system-misc"}
TRAIN = "Run: pip install 'edgekin[train]'"
NVIDIA, RTX = "Run: pip install 'edgekin[nvidia]'", "Run: pip install 'edgekin[rtx]'"

Packages = dict[str, Imported]


def examine_jobs(system: System) -> list[Finding]:
    """Return the rows of what can be run and compiled."""
    packages = system.imports(PACKAGES)
    found = _gpu(system)
    return [_native(), _shared_memory(system), found, *_nvidia(system, packages, found),
            *_workstation(packages), _mcu(system)]


def _native() -> Finding:
    try:
        from edgekin.runtime.engine import supported_isas

        isas = supported_isas()
    except ImportError as error:
        return Finding(ENGINES, "native engine", MISSING, f"the C extension does not load: {error}",
                       "Run: pip install --force-reinstall edgekin, with a C compiler where there is no wheel", True)
    fastest = isas[-1] if isas else "none"
    status = OK if isas else MISSING
    return Finding(ENGINES, "native engine", status, f"{', '.join(isas)}; auto takes {fastest}", base=True)


def _shared_memory(system: System) -> Finding:
    place = system.path("/dev/shm")
    if place.is_dir():
        return Finding(ENGINES, "shared memory", OK, "/dev/shm", base=True)
    return Finding(ENGINES, "shared memory", WARNING, "no /dev/shm: rings go to the temporary folder, maybe a disk",
                   "Mount a tmpfs there", True)


def _gpu(system: System) -> Finding:
    try:
        here = gpu.gpu()
        cuda = f"{here.cuda // 1000}.{here.cuda % 1000 // 10}"
        return Finding(ENGINES, "NVIDIA GPU", OK, f"{here.name}, SM {here.sm}, driver for CUDA {cuda}")
    except RuntimeFault as error:
        why_none = error.message
    remedy = "Flash JetPack again" if system.is_jetson else "Install NVIDIA's driver, where there is such a GPU"
    return Finding(ENGINES, "NVIDIA GPU", MISSING, why_none, remedy)


def _nvidia(system: System, packages: Packages, found: Finding) -> list[Finding]:
    runs = found.status == OK
    without = "" if runs else "; there is no GPU to run it on"

    def row(name: str, imported: Imported, remedy: Callable[[], str], needs_gpu: bool) -> Finding:
        section = ENGINES if needs_gpu else TARGETS
        if imported.version is None:
            driver = "libcuda" in imported.error  # it is installed, and the driver is not
            return Finding(section, name, MISSING, imported.error, found.remedy if driver and not runs else remedy())
        status = OK if runs else MISSING if needs_gpu else WARNING
        return Finding(section, name, status, f"{imported.version}{without}", "" if runs else found.remedy)

    tensorrt, rtx = packages["tensorrt"], packages["tensorrt_rtx_bindings"]
    return [row("cuda (PyCUDA)", packages["pycuda.driver"], lambda: _pycuda_remedy(system), True),
            row("tensorrt", tensorrt, lambda: _tensorrt_remedy(system), True),
            # Plans are built without a GPU; it takes one of these to run them.
            row("tensorrt-rtx", rtx, lambda: RTX, False)]


def _tensorrt_remedy(system: System) -> str:
    """The bindings of apt are for the system's Python, and an environment does not see them unasked."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = system.glob("/usr/lib/python3*/dist-packages/tensorrt")
    versions = sorted({path.parts[-3].removeprefix("python") for path in found})
    if found and {"3", here} & set(versions):
        return ("apt's bindings are not seen from this environment. Make it with: "
                f"python{here} -m venv --system-site-packages VENV")
    if found:
        return (f"apt's bindings are for Python {', '.join(versions)}, this is {here}. Make an environment with: "
                f"python{versions[-1]} -m venv --system-site-packages VENV")
    if system.is_jetson:
        return "Run: sudo jetson_setup/02_packages.sh"
    return "Run: pip install tensorrt, on a machine with NVIDIA's driver"


def _pycuda_remedy(system: System) -> str:
    """PyCUDA is built from source, with nvcc."""
    if system.which("nvcc"):
        return NVIDIA
    if system.path("/usr/local/cuda/bin/nvcc").exists():
        return f"nvcc is not in PATH. Run: export PATH=/usr/local/cuda/bin:$PATH, then: {NVIDIA.removeprefix('Run: ')}"
    toolkit = "sudo jetson_setup/02_packages.sh" if system.is_jetson else "install NVIDIA's CUDA toolkit"
    return f"PyCUDA is built from source, which takes the CUDA toolkit: {toolkit}, then {NVIDIA.removeprefix('Run: ')}"


def _workstation(packages: Packages) -> list[Finding]:
    def row(section: str, name: str, *modules: str) -> Finding:
        absent = {module: packages[module].error for module in modules if packages[module].version is None}
        if absent:
            return Finding(section, name, MISSING, "; ".join(f"{name}: {error}" for name, error in absent.items()),
                           TRAIN)
        return Finding(section, name, OK, ", ".join(f"{module} {packages[module].version}" for module in modules))

    return [row(TARGETS, "native", "torch", "onnx", "safetensors"), row(TARGETS, "onnx", "onnx", "onnxruntime"),
            row(WORKSTATION, "training", "torch", "safetensors"), row(WORKSTATION, "simulation and bench", "pybullet"),
            row(ENGINES, "onnxruntime", "onnxruntime")]


def _mcu(system: System) -> Finding:
    absent = [program for program in CROSS_TOOLS if system.which(program) is None]
    if not absent:
        return Finding(TARGETS, "microcontrollers", OK, ", ".join(CROSS_TOOLS))
    packages = " ".join(sorted({CROSS_TOOLS[program] for program in absent}))
    return Finding(TARGETS, "microcontrollers", MISSING, f"no {', '.join(absent)}", f"Run: apt-get install {packages}")
