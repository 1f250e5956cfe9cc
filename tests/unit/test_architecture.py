"""The arrows between the rooms: imports point one way, heavy packages stay out of module scope."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "edgekin"

BASE = {"errors", "config", "machine", "gpu", "output", "_ek", "__version__", "ranges"}
#: room -> the rooms it may import (besides itself).
MAY_IMPORT = {
    "errors": set(),
    "config": {"errors"},
    "output": {"errors"},
    "pieces": {"errors", "output"},
    "workers": {"errors"},
    "ranges": {"errors"},
    "machine": {"errors", "__version__"},
    "gpu": {"errors"},
    "robot": BASE,
    "runtime": BASE,
    "detection": BASE | {"robot", "runtime"},
    "bundle": BASE | {"robot", "runtime", "detection"},
    "plans": BASE | {"bundle", "runtime"},
    "opening": {"errors", "output", "bundle", "plans", "runtime"},
    "adapting": BASE | {"robot", "runtime", "detection", "bundle", "opening", "sim", "training"},
    "calibrating": BASE | {"robot", "runtime", "detection", "bundle", "opening", "sim"},
    "sim": BASE | {"robot", "runtime"},
    "benchmark": BASE | {"robot", "runtime", "detection", "bundle", "sim", "opening"},
    "watching": BASE | {"bundle", "runtime", "opening"},
    "estimation": BASE | {"bundle", "runtime", "models"},
    "doctor": {"errors", "machine", "gpu", "runtime"},
    "profiling": {"errors", "machine", "bundle", "runtime"},
    "models": BASE | {"robot", "sim"},
    "training": BASE | {"robot", "sim", "models"},
    "quantization": BASE | {"robot", "sim", "models", "training"},
    "report": {"errors", "output"},
    "comparison": BASE | {"robot", "sim", "models", "training", "compile", "runtime", "report", "pieces", "workers"},
    "evolution": BASE | {"robot", "sim", "models", "training", "quantization", "compile", "report"},
    "verification": BASE | {"robot", "runtime", "detection", "bundle", "opening", "sim", "report", "pieces", "workers"},
    "compile": BASE | {"robot", "sim", "models", "training", "quantization", "runtime", "detection", "bundle", "plans",
                       "opening"},
}
HEAVY = {
    "torch",
    "pybullet",
    "pybullet_data",
    "onnx",
    "onnxruntime",
    "tensorrt",
    "tensorrt_rtx",
    "tensorrt_rtx_bindings",
    "pycuda",
    "pynvml",
    "jtop",
    "matplotlib",
    "PIL",
    "jinja2",
    "scipy",
    "river",
    "pyod",
    "dask",
    "distributed",
    "sklearn",
}
#: torch is what these modules are made of; their package's __init__ must not import them.
TORCH_MODULES = {"models/neurokin.py", "models/resneurokin_d.py", "models/k3dgs.py", "models/k3dgs_views.py",
                 "models/body_depth.py", "models/body_reference.py", "models/ffksm.py", "models/ffksm_field.py",
                 "models/ffksm_learning.py", "models/ffksm_march.py", "models/ffksm_rays.py", "training/soap.py",
                 "training/tail.py", "training/chain_search.py"}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py")


def outside_functions(node):
    """Yield the nodes that run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from outside_functions(child)


def imports(nodes):
    """Yield the dotted names that the nodes import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def label(path):
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_imports_point_one_way(path):
    room = label(path).split("/")[0].removesuffix(".py")
    for name in imports(ast.walk(ast.parse(path.read_text()))):
        top, _, rest = name.partition(".")
        if top == "edgekin" and room not in ("cli", "__init__"):
            assert rest.split(".")[0] in MAY_IMPORT[room] | {room}, f"{label(path)} must not import {name}"


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_heavy_packages_are_imported_inside_functions(path):
    for name in imports(outside_functions(ast.parse(path.read_text()))):
        top = name.split(".")[0]
        assert top not in HEAVY or (top == "torch" and label(path) in TORCH_MODULES), f"{label(path)} imports {name}"


def test_the_engines_never_include_python():
    sources = list((PACKAGE.parent / "engines").rglob("*.[ch]"))
    assert sources
    for path in sources:
        assert "Python.h" not in path.read_text(), path


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_modules_stay_small(path):
    assert len(path.read_text().splitlines()) <= 500
