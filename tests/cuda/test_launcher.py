"""The launcher against a driver that logs its calls and refuses what it is told to: order, fall-backs, one line."""

from __future__ import annotations

import numpy as np
import pytest

from edgekin.compile.weights import write_weights
from edgekin.errors import RuntimeFault
from edgekin.quantization.qgraph import quantize_graph
from tests.parity.graphs import calibrated, decoder

pytest.importorskip("edgekin._ek", reason="build it: python setup.py build_ext --inplace")
from edgekin.runtime.cuda import CudaEngine, CudaOptions, probe
from edgekin.runtime.engine import Engine

CUBIN = b"\x7fELF"
PACKED = np.packbits(np.random.default_rng(4).random((2, 20, 25)) < 0.3, axis=-1)
Q = np.random.default_rng(3).uniform(-2, 2, (6, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def blob() -> bytes:
    graph = decoder(np.random.default_rng(2))
    return write_weights(quantize_graph(graph, calibrated(graph, Q)))


def open_gpu(driver, blob: bytes, **options) -> CudaEngine:
    return CudaEngine(blob, CUBIN, "int8", CudaOptions(library=driver.path, blocks=2, threads=64, **options))


def score(engine: Engine, joints: np.ndarray):
    engine.run(joints)
    return engine.score(PACKED)


def test_a_tick_is_one_graph_launch_whose_answer_is_read_from_memory(host_driver, blob):
    with open_gpu(host_driver, blob) as engine:
        opened = host_driver.calls()
        score(engine, Q[0])
        assert host_driver.calls()[len(opened):] == ["cuGraphLaunch"]
    # Once outside the graph, so that a refusal has a name; then the same, captured, instantiated and uploaded.
    first = opened.index("cuLaunchCooperativeKernel")
    assert opened[first:] == ["cuLaunchCooperativeKernel", "cuStreamBeginCapture_v2", "cuLaunchCooperativeKernel",
                              "cuStreamEndCapture", "cuGraphGetNodes", "cuGraphInstantiateWithFlags",
                              "cuGraphUpload"]
    assert "cuMemHostGetDevicePointer_v2" in opened[:first]
    # Constants and cleared maps have arrived: a non-blocking stream would not wait for them.
    assert opened[first - 1] == "cuStreamSynchronize"


def test_copies_and_a_blocking_wait_are_what_was_asked_for(host_driver, blob):
    with open_gpu(host_driver, blob, io="copy", wait="block", graph=False) as engine:
        before = len(host_driver.calls())
        score(engine, Q[0])
        assert host_driver.calls()[before:] == ["cuMemcpyHtoDAsync_v2", "cuLaunchCooperativeKernel",
                                                "cuMemcpyDtoHAsync_v2", "cuEventRecord", "cuEventSynchronize"]
        assert (engine.cuda.io, engine.cuda.wait, engine.cuda.note) == ("copy", "block", "")


@pytest.mark.parametrize("refused", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags",
                                     "cuGraphUpload"])
def test_a_refused_graph_is_said_and_every_tick_enqueued(host_driver, blob, refused):
    host_driver.fail(refused, 900)
    with Engine(blob, "scalar") as expected, open_gpu(host_driver, blob) as engine:
        assert not engine.cuda.graph
        assert engine.cuda.note.startswith("every tick is enqueued: no CUDA graph, cu")
        assert "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED" in engine.cuda.note
        for joints in Q:
            assert score(engine, joints) == score(expected, joints)
    assert host_driver.owned() == 0


def test_a_gpu_without_cooperative_launches_or_mapped_memory_is_used_as_it_can_be(host_driver, blob):
    host_driver.attribute(95, 0)
    host_driver.attribute(19, 0)
    with Engine(blob, "scalar") as expected, open_gpu(host_driver, blob) as engine:
        info = engine.cuda
        assert (info.cooperative, info.io) == (False, "copy")
        assert info.n_launches > 1
        assert "no cooperative launch" in info.note
        assert "maps no host memory" in info.note
        assert score(engine, Q[0]) == score(expected, Q[0])


def test_a_launch_that_was_accepted_and_never_ran_is_an_error_not_the_last_result(host_driver, blob):
    with open_gpu(host_driver, blob) as engine:
        score(engine, Q[0])
        host_driver.fail("kernel", 1)
        with pytest.raises(RuntimeFault, match=r"the launch was accepted, but tick \d+ never ran"):
            score(engine, Q[1])
        host_driver.reset()
        assert score(engine, Q[0]).n_pixels == 1000


def test_a_refused_launch_is_an_error_and_the_next_one_works(host_driver, blob):
    with Engine(blob, "scalar") as expected, open_gpu(host_driver, blob) as engine:
        host_driver.fail("cuGraphLaunch", 719)
        engine.run(Q[0])
        with pytest.raises(RuntimeFault, match="cuGraphLaunch: CUDA_ERROR_OF_THE_TEST"):
            engine.score(PACKED)
        host_driver.reset()
        assert score(engine, Q[1]) == score(expected, Q[1])


@pytest.mark.parametrize(("call", "error", "line", "remedy"), [
    ("cuInit", 100, "cuInit: CUDA_ERROR_NO_DEVICE", "--engine native"),
    ("cuModuleLoadData", 209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "edgekin compile --target cuda --force"),
    ("cuDevicePrimaryCtxRetain", 2, "cuDevicePrimaryCtxRetain", ""),
    ("cuMemAlloc_v2", 2, "cuMemAlloc", ""),
    ("cuMemHostAlloc", 2, "cuMemHostAlloc", ""),
    ("cuLaunchCooperativeKernel", 720, "cuLaunchCooperativeKernel", ""),
])
def test_what_fails_while_opening_is_one_line_and_leaves_nothing_behind(host_driver, blob, call, error, line, remedy):
    host_driver.fail(call, error)
    with pytest.raises(RuntimeFault) as caught:
        open_gpu(host_driver, blob)
    assert line in caught.value.message
    assert "\n" not in str(caught.value)
    assert remedy in caught.value.hint
    assert host_driver.owned() == 0


def test_without_a_driver_or_with_another_library_the_line_says_so(blob):
    with pytest.raises(RuntimeFault, match="no NVIDIA driver") as caught:
        probe(CudaOptions(library="libcuda-that-is-not-there.so"))
    assert "Install the NVIDIA driver" in caught.value.hint
    with pytest.raises(RuntimeFault, match="too old: it has no cu"):
        CudaEngine(blob, CUBIN, "int8", CudaOptions(library="libc.so.6"))


def test_a_device_that_is_not_there_and_precisions_that_do_not_fit_are_refused(host_driver, blob):
    with pytest.raises(RuntimeFault, match="CUDA_ERROR_INVALID_DEVICE"):
        open_gpu(host_driver, blob, device=3)
    with pytest.raises(RuntimeFault, match="does not support what was asked"):
        CudaEngine(blob, CUBIN, "fp16", CudaOptions(library=host_driver.path))
    with pytest.raises(RuntimeFault, match="changed or cut off"):
        CudaEngine(blob[:-1], CUBIN, "int8", CudaOptions(library=host_driver.path))
    with pytest.raises(RuntimeFault, match="io is 'pigeon'"):
        open_gpu(host_driver, blob, io="pigeon")
    with pytest.raises(RuntimeFault, match="do not fit this GPU at once"):
        CudaEngine(blob, CUBIN, "int8", CudaOptions(library=host_driver.path, blocks=5))


def test_engines_are_opened_and_closed_beside_each_other_and_again(host_driver, blob):
    with Engine(blob, "scalar") as expected:
        want = [score(expected, joints) for joints in Q]
    for _ in range(3):
        with open_gpu(host_driver, blob) as one, open_gpu(host_driver, blob, cooperative=False, io="copy") as other:
            for joints, result in zip(Q, want, strict=True):
                assert score(one, joints) == result
                assert score(other, joints) == result
        one.close()
    assert host_driver.owned() == 0


def test_scores_follow_the_last_run_and_logits_need_no_mask(host_driver, blob):
    with Engine(blob, "scalar") as expected, open_gpu(host_driver, blob) as engine:
        for joints in Q:
            expected.run(joints)
            engine.run(joints)
            assert np.array_equal(engine.logits(), expected.logits())
            assert engine.score(PACKED) == expected.score(PACKED)
        bad = Q[0].copy()
        bad[1] = np.nan
        with pytest.raises(RuntimeFault, match="NaN"):
            engine.run(bad)
