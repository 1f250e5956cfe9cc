"""edgekin prune under fire: killed at any moment it goes on; a Dask cluster that loses a worker loses nothing."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from edgekin.robot import save_robot
from tests.small_arm import small_arm

pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")

BUDGETS = ("--flash", "24KiB", "--ram", "8KiB", "--instructions", "400k", "--core", "m7")


def slowly(x):
    """Take a moment, so that a worker can die meanwhile."""
    time.sleep(0.4)
    return 2 * x


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    """The run of a body model of the small arm in 24x24 px."""
    folder = tmp_path_factory.mktemp("survive")
    (folder / "robot").mkdir()
    save_robot(small_arm(24, 24), folder / "robot")
    env = {**os.environ, "EDGEKIN_RUNS": str(folder / "runs"), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "edgekin", "train", "--robot", str(folder / "robot"), "--model", "k3dgs",
                    "--size", "s", "--samples", "64", "--steps", "60", "--name", "body"], env=env, check=True,
                   capture_output=True)
    return folder / "runs" / "body"


def prune(run, out, *more):
    command = [sys.executable, "-m", "edgekin", "prune", *([str(run)] if run else []), *BUDGETS, "--population", "4",
               "--steps", "6", "--jobs", "1", "--out", str(out), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "OMP_NUM_THREADS": "1"})


def timeless(path):
    content = json.loads(path.read_text())
    content["history"] = [{k: v for k, v in entry.items() if k != "seconds"} for entry in content["history"]]
    return {k: v for k, v in content.items() if k not in ("seconds", "run")}


@pytest.fixture(scope="module")
def whole(body, tmp_path_factory):
    """The JSON of a search that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    process = prune(body, folder / "whole", "--generations", "3", "--json", str(folder / "whole.json"))
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "evolved" in said
    return folder / "whole.json"


def test_a_body_model_that_was_killed_ends_as_one_that_was_not(body, whole, tmp_path):
    shot = prune(body, tmp_path / "shot", "--generations", "3")
    folder = tmp_path / "shot" / "evolution"
    while shot.poll() is None and not list(folder.glob("generation-*.ckpt")):
        time.sleep(0.02)
    shot.send_signal(signal.SIGKILL)
    shot.communicate(timeout=60)
    resumed = prune(None, tmp_path / "shot", "--generations", "3", "--resume", "--json", str(tmp_path / "shot.json"))
    _, errors = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, errors
    assert timeless(tmp_path / "shot.json") == timeless(whole)
    found = json.loads(whole.read_text())
    assert all(found["best"][name] <= allowed for name, allowed in found["budgets"].items())


def test_a_dask_cluster_that_loses_a_worker_half_way_loses_nothing():
    distributed = pytest.importorskip("distributed", reason="needs Dask: pip install 'edgekin[cluster]'")
    from edgekin.evolution.pool import Pool

    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        seen = []

        def half_way(done):
            if done == 2 and not seen:
                seen.append(next(iter(cluster.workers.values())).process.process)
                os.kill(seen[0].pid, signal.SIGKILL)

        with Pool(scheduler=cluster.scheduler_address) as pool:
            assert pool.map(slowly, range(8), half_way) == [2 * x for x in range(8)]
        assert seen


def test_a_search_on_a_cluster_that_loses_a_worker_ends_as_one_on_this_machine(body, whole, tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs Dask: pip install 'edgekin[cluster]'")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        search = prune(body, tmp_path / "far", "--generations", "3", "--scheduler", cluster.scheduler_address,
                       "--json", str(tmp_path / "far.json"))
        folder = tmp_path / "far" / "evolution"
        while search.poll() is None and not list(folder.glob("generation-*.ckpt")):
            time.sleep(0.02)
        os.kill(next(iter(cluster.workers.values())).process.process.pid, signal.SIGKILL)
        _, errors = search.communicate(timeout=300)
    assert search.returncode == 0, errors
    assert timeless(tmp_path / "far.json") == timeless(whole)


def test_a_pool_whose_process_dies_is_made_anew(tmp_path):
    from edgekin.evolution.pool import Pool

    with Pool(jobs=2) as pool:
        assert pool.map(dies_once, [(str(tmp_path / "flag"), x) for x in range(4)]) == [0, 1, 2, 3]


def dies_once(item):
    """Kill the process that is the first to come here."""
    flag, x = item
    try:
        os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return x
    os._exit(9)
