"""The launches and barriers that `edgekin estimate` counts against those of the CUDA engine's real plan."""

from __future__ import annotations

import numpy as np
import pytest

from edgekin.compile.weights import write_weights
from edgekin.estimation.devices import load_device
from edgekin.estimation.estimate import estimate_workload
from edgekin.estimation.workload import Workload, decoder_layers
from edgekin.runtime.cuda import CudaEngine, CudaOptions
from edgekin.runtime.engine import Engine
from tests.parity.graphs import decoder

CUBIN = b"\x7fELF"


@pytest.mark.parametrize("seed", range(6))
def test_the_plans_barriers_are_within_the_estimates_range(host_driver, seed):
    blob = write_weights(decoder(np.random.default_rng(seed)))
    with Engine.open(blob) as engine:
        work = Workload(tuple(decoder_layers(engine)), False)
    counted = {}
    for cooperative in (True, False):
        options = CudaOptions(library=host_driver.path, blocks=2, threads=64, cooperative=cooperative)
        with CudaEngine(blob, CUBIN, "fp16", options) as engine:
            counted[cooperative] = engine.cuda.n_launches
    estimate = next(e for e in estimate_workload(work, load_device("orin-nx-16")) if e.engine == "cuda")
    assert counted[True] == estimate.launches.best == estimate.launches.worst == 1
    barriers = counted[False] - 1  # without them, each is the end of a launch
    assert estimate.barriers.best <= barriers <= estimate.barriers.worst
