"""Builds the C side of engines/ into the extension edgekin._ek; the metadata is in pyproject.toml."""

from setuptools import setup

setup(
    cffi_modules=["engines/build_binding.py:ffi"],
    # The extension keeps to the stable ABI, so one wheel serves every supported Python.
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
