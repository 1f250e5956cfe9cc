"""Give k3dgs a chain or cameras that are wrong by so much, and see what it makes of the pictures.

    python benchmarks/learn_geometry.py chain  [--angle-deg 5 --shift-mm 10] [--seeds 0 1 2] [--views 1]
    python benchmarks/learn_geometry.py camera [--angle-deg 2 --shift-mm 20] [--seeds 0 1 2] [--views 2]
    python benchmarks/learn_geometry.py unknown [--seeds 0 1 2]

Every actuated joint's origin (or every camera) is turned and shifted by that much in a random direction; a camera's
focal length is also 3% and its principal point 1 px off. The pictures are the true robot's. For a chain the error of
every joint's axis is printed, as a line at q = 0, without what pictures cannot tell (edgekin.robot.chain); for cameras
the PSNR beside that of the same training with the true ones, and with the wrong ones taken as given. Of an unknown
chain every joint lies in the base, about its z axis, and the search of `--learn unknown-chain` comes first.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from reference_arm import SEED_ARM

from edgekin.machine import describe, revision
from edgekin.models import PictureShape, build_model
from edgekin.models.self_model import SelfModel
from edgekin.output import write_json
from edgekin.robot import RobotSpec, load_robot
from edgekin.robot.cameras import look_at
from edgekin.robot.chain import ChainError, camera_centre, chain_error, corrected, perturbed
from edgekin.robot.spec import Camera
from edgekin.robot.transforms import axis_angle, pose
from edgekin.sim.collect import uniform_dataset
from edgekin.training.chain_search import find_chain
from edgekin.training.loop import Split, Trainer
from edgekin.training.protocols import TEST_SEED_OFFSET
from edgekin.training.settings import TrainConfig
from edgekin.training.train import score_model

FOCAL_OFF, CENTRE_OFF_PX = 0.03, 1.0
VIEW_TURN_RAD = np.pi / 2  # from a camera to the next, about the vertical through the base


def seen_by(spec: RobotSpec, views: int) -> RobotSpec:
    """Return the robot with so many cameras on a circle about it, the first where it was."""
    first = spec.cameras[0]
    middle = spec.base[:3, 3] + [0, 0, camera_centre(spec)[2] - spec.base[2, 3]]
    cameras = [first]
    for number in range(1, views):
        turn = axis_angle([0, 0, 1], number * VIEW_TURN_RAD)
        cameras.append(replace(first, world_to_cam=look_at(middle + turn @ (camera_centre(spec) - middle), middle)))
    return replace(spec, cameras=tuple(cameras))


def wrong_cameras(spec: RobotSpec, angle_rad: float, shift_m: float, seed: int) -> RobotSpec:
    """Return the robot with every camera off by so much, in directions at random."""
    rng = np.random.default_rng(seed)

    def wrong(view: Camera) -> Camera:
        axis, way = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
        sign = rng.choice([-1.0, 1.0], size=3)
        focal = 1 + FOCAL_OFF * sign[0]
        move = pose(shift_m * way, axis_angle(axis, angle_rad))
        return replace(view, world_to_cam=move @ view.world_to_cam, fx=view.fx * focal, fy=view.fy * focal,
                       cx=view.cx + CENTRE_OFF_PX * sign[1], cy=view.cy + CENTRE_OFF_PX * sign[2])

    return replace(spec, cameras=tuple(wrong(view) for view in spec.cameras))


def trained(spec: RobotSpec, split: Split, config: TrainConfig, learn: tuple[str, ...]) -> tuple[SelfModel, float]:
    """Train; return the model and its PSNR on the test split, dB."""
    model = build_model("k3dgs", config.size, PictureShape.of(spec), config.seed, spec, learn)
    Trainer(model, split, config).run()
    return model, score_model(model, split.test)["psnr_db"]


def told(error: ChainError) -> dict[str, Any]:
    """Return the error JSON-ready."""
    return {"angle_deg": error.angle_deg.round(4).tolist(), "distance_mm": (1e3 * error.distance_m).round(3).tolist(),
            "scale": round(error.scale, 5), "reach_mm": round(1e3 * error.reach_m, 3)}


def learn_chain(true: RobotSpec, split: Split, config: TrainConfig, size: tuple[float, float],
                seed: int) -> dict[str, Any]:
    """Perturb the chain by size (rad, m), train, and tell how far each axis is off."""
    rough = perturbed(true, *size, seed)
    model, psnr_db = trained(rough, split, config, ("chain",))
    corrections = model.module.chain.detach().numpy()
    before, after = chain_error(true, rough), chain_error(true, corrected(rough, corrections))
    print(f"seed {seed}: {psnr_db:.2f} dB; axes off by {before.worst[0]:.1f} deg and {1e3 * before.worst[1]:.1f} mm at "
          f"worst, learned to {after.worst[0]:.3f} deg and {1e3 * after.worst[1]:.3f} mm\n"
          f"  each: {after.angle_deg.round(3)} deg, {(1e3 * after.distance_m).round(3)} mm; last joint "
          f"{1e3 * before.reach_m:.1f} -> {1e3 * after.reach_m:.2f} mm; scale {after.scale:.4f}", flush=True)
    return {"seed": seed, "psnr_db": psnr_db, "before": told(before), "after": told(after)}


def find_unknown(true: RobotSpec, split: Split, config: TrainConfig, _: tuple[float, float],
                 seed: int) -> dict[str, Any]:
    """Take axes and offsets away, search, train, and tell how far each axis is off."""
    unknown = replace(true, joints=tuple(replace(j, origin=np.eye(4), axis=np.array([0.0, 0.0, 1.0])) if j.actuated
                                         else j for j in true.joints))
    model = build_model("k3dgs", config.size, PictureShape.of(unknown), seed, unknown, ("chain",))
    began = time.process_time()
    find_chain(model, split.train, seed, lambda share: None)
    seconds = time.process_time() - began

    def error() -> ChainError:
        return chain_error(true, corrected(unknown, np.asarray(model.module.state_dict()["chain"])))

    searched = error()
    Trainer(model, split, config).run()
    psnr_db, after = score_model(model, split.test)["psnr_db"], error()
    print(f"seed {seed}: found in {seconds:.0f} s to {searched.worst[0]:.2f} deg, {1e3 * searched.worst[1]:.2f} mm; "
          f"learned to {after.worst[0]:.3f} deg and {1e3 * after.worst[1]:.3f} mm, {psnr_db:.2f} dB", flush=True)
    return {"seed": seed, "psnr_db": psnr_db, "search_cpu_s": round(seconds, 1), "found": told(searched),
            "after": told(after)}


def learn_camera(true: RobotSpec, split: Split, config: TrainConfig, size: tuple[float, float],
                 seed: int) -> dict[str, Any]:
    """Perturb the cameras by size (rad, m), train, and tell what the pictures are worth."""
    rough = wrong_cameras(true, *size, seed)
    row = {"seed": seed, "as_given_psnr_db": trained(rough, split, config, ())[1],
           "learned_psnr_db": trained(rough, split, config, ("camera",))[1],
           "true_psnr_db": trained(true, split, config, ())[1]}
    print(f"seed {seed}: wrong cameras as given {row['as_given_psnr_db']:.2f} dB, learned "
          f"{row['learned_psnr_db']:.2f} dB, the true ones {row['true_psnr_db']:.2f} dB", flush=True)
    return row


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["chain", "camera", "unknown"])
    parser.add_argument("--robot", default=str(SEED_ARM))
    parser.add_argument("--angle-deg", type=float)
    parser.add_argument("--shift-mm", type=float)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--views", type=int, default=1)
    parser.add_argument("--samples", type=int, default=1600)
    parser.add_argument("--test-samples", type=int, default=400)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--size", default="m")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    """Run every seed and write what came out."""
    options = arguments()
    learn, angle, shift = {"chain": (learn_chain, 5.0, 10.0), "camera": (learn_camera, 2.0, 20.0),
                           "unknown": (find_unknown, 0.0, 0.0)}[options.what]
    angle = options.angle_deg if options.angle_deg is not None else angle
    shift = options.shift_mm if options.shift_mm is not None else shift
    true = seen_by(load_robot(options.robot), options.views)
    split = Split(uniform_dataset(true, options.samples, 0), uniform_dataset(true, options.test_samples,
                                                                            TEST_SEED_OFFSET))
    config = TrainConfig(robot=options.robot, model="k3dgs", size=options.size, protocol="uniform",
                         steps=options.steps).validated()
    rows = [learn(true, split, config, (np.radians(angle), shift / 1e3), seed) for seed in options.seeds]
    if options.json:
        write_json(options.json, {
            "schema": "edgekin.learn_geometry/1", "revision": revision(), "seed": options.seeds[0],
            "what": options.what, "robot": true.name, "views": options.views, "angle_deg": angle, "shift_mm": shift,
            "samples": options.samples, "steps": options.steps, "size": options.size, "rows": rows,
            "machine": describe()})


if __name__ == "__main__":
    main()
