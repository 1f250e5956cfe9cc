"""A result as `edgekin compare` writes it, small and made up, but with every case: no depth, no engine, few frames."""

import numpy as np
import pytest

from edgekin.report.pictures import ENCODING, packed_picture


def timed(p50, p99):
    return {"p50": p50, "p99": p99, "n": 500 if p99 else 20}


def row(model, psnr, **changes):
    return {"model": model, "registry": model, "about": "", "size": "m", "psnr_db": psnr, "iou": 0.9,
            "depth_mae_m": None, "parameters": 720, "macs": 4932, "bytes": 2688, "native_precision": "int8",
            "latency_us": {"torch": timed(900.0, 1200.0), "onnxruntime": timed(300.0, None),
                           "native": timed(20.0, 30.0)},
            "why_not": {}, "train_seconds": 30.0, "n_train": 1600, "device": "cpu", "given": None, "run": model,
            **changes}


@pytest.fixture
def result():
    rng = np.random.default_rng(0)
    pictures = [packed_picture(p) for p in rng.uniform(size=(2, 6, 8))]
    seen = {"psnr_db": [20.0, 21.0], "iou": [0.8, 0.9], "pictures": pictures}
    slow = {"torch": timed(190_000.0, None), "onnxruntime": None, "native": None}
    score = {"samples": 25, "psnr_db": 20.0, "iou": 0.8, "parameters": 720, "train_seconds": 5.0}
    return {
        "schema": "edgekin.compare/1", "revision": "abc", "seed": 0, "revisions": ["abc"],
        "machine": {"cpu": "A <CPU>", "isa": ["avx2"], "cores": 2, "virtual": True, "kernel": "6"},
        "robot": {"name": "arm", "sha256": "0", "joints": ["a", "b"], "views": 1, "height": 6, "width": 8,
                  "convention": "center"},
        "protocol": {"name": "uniform", "preset": "quick", "about": "Small.", "n_train": 1600, "n_test": 200,
                     "budget": 0.5, "train_seconds": 100.0, "latency": "batch 1"},
        "rows": [row("k3dgs", 31.2), row("resneurokin-d", 26.0, depth_mae_m=0.0082),
                 row("ffksm", 23.5, bytes=None, native_precision=None, latency_us=slow,
                     why_not={"native": "it is no <graph>", "depth": "it predicts no depth"}, given="old")],
        "floors": {"all_black": {"psnr_db": 13.0, "iou": 0.0}, "mean_image": {"psnr_db": 18.0, "iou": 0.4},
                   "nearest": {"psnr_db": 19.0, "iou": 0.6}},
        "published": {"what": "another arm", "caveats": ["Read each beside its floors."],
                      "floors": {"nearest": {"psnr_db": 19.45}},
                      "rows": [{"model": "k3dgs", "psnr_db": 17.01, "fps": 37.0, "latency_ms": 27.0,
                                "train_seconds": 48.0},
                               {"model": "neurokin", "psnr_db": 21.88, "fps": 7400.0, "latency_ms": 0.135,
                                "train_seconds": 30.0}]},
        "data_efficiency": {"samples": [10, 25], "models": {"k3dgs": [{**score, "samples": 10}, score]},
                            "floors_psnr_db": {"mean_image": [17.0, 17.5], "nearest": [15.0, 16.0]}},
        "ablations": [{"name": "angle noise", "model": "k3dgs", "question": "Does it help?", "samples": 25,
                       "variants": [{"label": "none", "settings": {}, **score},
                                    {"label": "0.01 rad", "settings": {"angle_noise_rad": 0.01}, **score,
                                     "psnr_db": 19.5}]}],
        "panels": {"shape": [6, 8], "encoding": ENCODING, "index": [0, 1], "joint_pos": [[0.0, 0.0], [1.0, 1.0]],
                   "truth": pictures, "models": {"k3dgs": seen, "resneurokin-d": seen, "ffksm": seen}},
        "left_out": ["ablation curriculum, ffksm: no such setting"],
    }
