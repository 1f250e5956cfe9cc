"""TensorRT and TensorRT-RTX: one code path, which asks the module what it can do and never what version it is."""
