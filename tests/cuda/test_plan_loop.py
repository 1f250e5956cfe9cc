"""Plans in the C launcher and in the C loop: TensorRT is emulated (ONNX Runtime, on the host driver's stream)."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("edgekin._ek", reason="build it: python setup.py build_ext --inplace")
pytest.importorskip("onnx", reason="needs onnx: pip install 'edgekin[train]'")
pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'edgekin[train]'")
from edgekin.compile.onnx_export import export_onnx, run_onnx
from edgekin.compile.weights import write_weights
from edgekin.errors import RuntimeFault
from edgekin.models.graph import DepthHead, Graph
from edgekin.plans.api import Api
from edgekin.plans.engine import PlanEngine
from edgekin.runtime.cuda import CudaOptions
from edgekin.runtime.engine import Engine
from edgekin.runtime.loop import Loop, LoopConfig
from edgekin.runtime.ring import RingReader, RingWriter
from tests.cuda.test_loop_on_host import EMPTY, FULL, SHAPE, constant, detector, publish_until
from tests.parity.graphs import decoder
from tests.unit.compile.tensorrt.emulated import at_once, emulate

Q = np.random.default_rng(3).uniform(-2, 2, (6, 3)).astype(np.float32)
NETWORK = decoder(np.random.default_rng(2))
PACKED = np.packbits(np.random.default_rng(4).random((NETWORK.n_views, NETWORK.height, NETWORK.width)) < 0.3, axis=-1)


@pytest.fixture(autouse=True)
def here(host_driver, monkeypatch):
    """The host driver where both TensorRT and the launcher find it."""
    monkeypatch.setenv("EDGEKIN_LIBCUDA", host_driver.path)


def plan_of(graph: Graph) -> bytes:
    """What the emulated builder makes of a network."""
    return json.dumps({}).encode() + b"\0" + export_onnx(graph)


def open_plan(graph: Graph = NETWORK, options: CudaOptions | None = None, **behaviour) -> PlanEngine:
    return PlanEngine(Api("tensorrt", emulate("10.3.0", **behaviour)), plan_of(graph), options)


def refusing(*numbers: int):
    """An `accepts` that refuses the enqueues of these numbers, from 1 on; -1: all behind the others."""
    count = 0

    def accepts() -> bool:
        nonlocal count
        count += 1
        return count not in numbers and not (-1 in numbers and count > max(numbers))

    return accepts


@pytest.mark.parametrize("wait", ["spin", "block"])
@pytest.mark.parametrize("io", ["mapped", "copy", "managed"])
def test_a_tick_is_one_graph_launch_and_gives_what_onnx_runtime_gives(host_driver, io, wait):
    expected = run_onnx(export_onnx(NETWORK), Q)
    with open_plan(options=CudaOptions(io=io, wait=wait)) as engine:
        assert (engine.info.isa, engine.cuda.graph, engine.cuda.io, engine.cuda.note) == ("tensorrt", True, io, "")
        assert np.array_equal(engine.predict(Q), expected)
        before = len(host_driver.calls())
        engine.run(Q[0])
        engine.score(PACKED)
        end = ["cuStreamQuery"] if wait == "spin" else ["cuEventRecord", "cuEventSynchronize"]
        assert host_driver.calls()[before:] == ["cuGraphLaunch", *end]
    engine.close()
    assert host_driver.owned() == 0


def test_the_score_is_that_of_the_native_engine_bit_for_bit():
    graph = constant()
    packed = np.packbits(np.random.default_rng(0).random(SHAPE) < 0.4, axis=-1)
    with Engine(write_weights(graph)) as native, open_plan(graph) as engine:
        for one in (native, engine):
            one.run(Q[0])
        assert engine.score(packed) == native.score(packed)
        assert np.array_equal(engine.blocks(), native.blocks())


def test_depth_comes_beside_the_pictures():
    graph = replace(NETWORK, n_views=1, depth=DepthHead(1.0, 0.25))
    q = np.random.default_rng(1).uniform(-1, 1, (3, graph.n_joints))
    with open_plan(graph) as engine:
        assert engine.info.n_depth == graph.n_views
        assert np.array_equal(engine.predict(q), run_onnx(export_onnx(graph), q))
        assert np.array_equal(engine.predict_depth(q), run_onnx(export_onnx(graph), q, output="depth"))


@pytest.mark.parametrize(("behaviour", "why"), [
    ({"accepts": refusing(2)}, "tensorrt 10.3.0 refused to enqueue: it logged no error"),
    ({"enqueues": at_once}, "what was enqueued is not in it"),
], ids=["refused in capture", "captured nothing"])
def test_where_nothing_can_be_captured_every_tick_is_enqueued_and_the_reason_said(host_driver, behaviour, why):
    expected = run_onnx(export_onnx(NETWORK), Q)
    with open_plan(**behaviour) as engine:
        assert engine.cuda.note == f"every tick is enqueued: no CUDA graph, {why}"
        assert np.array_equal(engine.predict(Q), expected)
    assert host_driver.owned() == 0


@pytest.mark.parametrize("call", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"])
def test_a_graph_that_the_driver_refuses_is_done_without(host_driver, call):
    host_driver.fail(call, 900)
    with open_plan() as engine:
        assert "no CUDA graph, cu" in engine.cuda.note
        assert np.array_equal(engine.predict(Q), run_onnx(export_onnx(NETWORK), Q))
    assert host_driver.owned() == 0


def test_a_context_is_current_whenever_tensorrt_is_called_and_not_afterwards(host_driver):
    seen = []
    with open_plan(accepts=lambda: bool(seen.append(host_driver.has_context()) or True),
                   options=CudaOptions(graph=False)) as engine:
        engine.predict(Q)
        assert not host_driver.has_context()
    assert seen == [True] * (1 + len(Q))
    assert not host_driver.has_context()


def test_a_first_enqueue_that_is_refused_is_one_line_with_the_remedy(host_driver):
    with pytest.raises(RuntimeFault) as caught:
        open_plan(accepts=lambda: False)
    assert str(caught.value) == ("tensorrt 10.3.0 refused to enqueue: it logged no error. Build the plan on this "
                                 "machine: edgekin compile --force")
    assert host_driver.owned() == 0


def test_what_tensorrt_raises_does_not_pass_through_c_and_is_said(host_driver):
    def accepts() -> bool:
        raise MemoryError("out of\nmemory")

    with pytest.raises(RuntimeFault, match=r"cannot open the plan of tensorrt 10\.3\.0: MemoryError: out of memory"):
        open_plan(accepts=accepts)
    assert host_driver.owned() == 0


def test_a_plan_that_is_none_of_ours_is_refused(host_driver):
    api = Api("tensorrt", emulate("10.3.0"))
    with pytest.raises(RuntimeFault, match=r"tensorrt 10\.3\.0 refused the plan: Serialization assertion failed"):
        PlanEngine(api, b"of another version")
    graph = export_onnx(NETWORK).replace(b"logits", b"ligots")
    with pytest.raises(RuntimeFault, match=r"the plan's tensors are .*ligots.*, expected joints \(1, J\) and logits"):
        PlanEngine(api, b"{}\0" + graph)
    assert host_driver.owned() == 0


@pytest.mark.parametrize(("call", "line"), [
    ("cuInit", "cuInit: CUDA_ERROR_NO_DEVICE"), ("cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRetain"),
    ("cuStreamCreate", "cuStreamCreate"), ("cuMemHostAlloc", "cuMemHostAlloc"), ("cuStreamQuery", "cuStreamQuery"),
])
def test_what_the_driver_refuses_while_opening_leaves_nothing_behind(host_driver, call, line):
    host_driver.fail(call, 100)
    with pytest.raises(RuntimeFault, match=rf"cannot open the plan of tensorrt 10\.3\.0: {line}"):
        open_plan()
    assert host_driver.owned() == 0


def test_a_launch_that_was_accepted_and_never_ran_is_an_error_not_the_last_picture(host_driver):
    with open_plan() as engine:
        engine.run(Q[0])
        engine.score(PACKED)
        host_driver.fail("kernel", 1)
        engine.run(Q[1])
        with pytest.raises(RuntimeFault, match=r"the launch was accepted, but tick \d+ never ran"):
            engine.score(PACKED)
        with pytest.raises(RuntimeFault, match="NaN"):
            engine.run(np.full(3, np.nan))


def test_plans_are_open_beside_each_other_and_again(host_driver):
    expected = run_onnx(export_onnx(NETWORK), Q)
    for _ in range(2):
        with open_plan() as one, open_plan(options=CudaOptions(io="copy", graph=False)) as other:
            for joints, picture in zip(Q, expected, strict=True):
                for engine in (one, other):
                    engine.run(joints)
                    assert np.array_equal(engine.logits(), picture)
    assert host_driver.owned() == 0


@pytest.mark.parametrize("graph", [True, False], ids=["graph", "enqueued"])
def test_the_loop_judges_frames_by_a_plan_and_one_that_stops_answering_is_unknown(host_driver, tmp_path, graph):
    config = LoopConfig(duration_s=0.0, fifo_priority=0, warmup_ticks=0, lock_memory=False, hz=200.0)
    with (open_plan(constant(), CudaOptions(graph=graph)) as engine, RingWriter(tmp_path / "r", 3, SHAPE) as writer,
          RingReader(tmp_path / "r") as reader):
        with Loop(engine, reader, detector(), config) as loop:
            loop.start()
            publish_until(writer, EMPTY, loop, "healthy")
            host_driver.fail("kernel", 1)  # launches are accepted, and nothing happens
            publish_until(writer, EMPTY, loop, "unknown")
            host_driver.reset()
            publish_until(writer, EMPTY, loop, "healthy")
            publish_until(writer, FULL, loop, "damaged")
        assert loop.report().latency.frames > 0
    assert host_driver.owned() == 0


def test_an_enqueue_that_is_refused_in_the_loop_is_unknown_and_the_next_one_counts(tmp_path):
    refuses: list[bool] = []
    config = LoopConfig(duration_s=0.0, fifo_priority=0, warmup_ticks=0, lock_memory=False, hz=200.0)
    with (open_plan(constant(), CudaOptions(graph=False), accepts=lambda: not refuses) as engine,
          RingWriter(tmp_path / "r", 3, SHAPE) as writer, RingReader(tmp_path / "r") as reader,
          Loop(engine, reader, detector(), config) as loop):
        loop.start()
        publish_until(writer, EMPTY, loop, "healthy")
        refuses.append(True)
        publish_until(writer, EMPTY, loop, "unknown")
        refuses.clear()
        publish_until(writer, EMPTY, loop, "healthy")
