"""The C renderer against PyBullet's TinyRenderer, against a plain one in numpy, and against itself."""

from dataclasses import replace

import numpy as np
import pytest
from robots import BOX, URDF, seed_arm, write

from edgekin.errors import RobotError, RuntimeFault
from edgekin.robot import Link, RobotOptions, link_poses, load_robot, published_options
from edgekin.robot.damage import apply_damage
from edgekin.robot.events import parse_event
from edgekin.robot.loading import pybullet_data_folder
from edgekin.sim.excitation import sobol
from edgekin.sim.renderer import Renderer

POSES = 200
REQUIRED_IOU = {"arm4": 0.999, "kuka_iiwa/model.urdf": 0.999, "seed_arm": 0.99, "franka_panda/panda.urdf": 0.96}


def unpack(packed, width):
    return np.unpackbits(packed, axis=-1, count=width).astype(bool)


@pytest.mark.parametrize("name", REQUIRED_IOU)
def test_silhouettes_are_those_of_tinyrenderer(name):
    pytest.importorskip("pybullet", reason="needs PyBullet: pip install 'edgekin[train]'")
    from edgekin.sim.tinyrenderer import TinyRenderer

    if "/" in name and pybullet_data_folder() is None:
        pytest.skip("needs pybullet_data: pip install 'edgekin[train]'")
    options = published_options() if name == "seed_arm" else RobotOptions(convention="tinyrenderer")
    spec = load_robot(seed_arm() if name == "seed_arm" else name, options)
    q = sobol(POSES, spec.limits, 1)
    with Renderer(spec) as ours, TinyRenderer(spec) as theirs:
        masks, depth = unpack(ours.masks(q), ours.width)[:, 0], ours.depth(q[:5])[:, 0]
        iou = []
        for row, pose in enumerate(q):
            theirs.place(pose)
            mask, metres = theirs.render()
            iou.append((mask & masks[row]).sum() / (mask | masks[row]).sum())
            if row < 5:
                both = mask & masks[row]
                assert np.median(np.abs(depth[row] - metres)[both]) < 1e-3
    assert np.mean(iou) >= REQUIRED_IOU[name]


@pytest.mark.parametrize("shape", ['<sphere radius="0.1"/>', '<cylinder radius="0.06" length="0.3"/>',
                                   '<capsule radius="0.06" length="0.3"/>', '<box size="0.1 0.2 0.3"/>'])
def test_primitives_look_as_tinyrenderer_draws_them(tmp_path, shape):
    pytest.importorskip("pybullet", reason="needs PyBullet: pip install 'edgekin[train]'")
    from edgekin.sim.tinyrenderer import TinyRenderer

    text = URDF.replace(BOX, f"<visual><geometry>{shape}</geometry></visual>")
    spec = load_robot(write(tmp_path, text), RobotOptions(convention="tinyrenderer"))
    with Renderer(spec) as ours, TinyRenderer(spec) as theirs:
        for angle in np.linspace(-1, 1, 12):
            theirs.place([angle])
            mask, _ = theirs.render()
            own = unpack(ours.masks([angle]), ours.width)[0, 0]
            assert (mask & own).sum() / (mask | own).sum() > 0.995


def plain_mask(spec, q, view=0):
    """Every triangle against every pixel centre, in double precision."""
    camera = spec.cameras[view]
    mask = np.zeros((camera.height, camera.width), dtype=bool)
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    for link, pose in zip(spec.links, link_poses(spec, q)[0], strict=True):
        place = camera.world_to_cam @ pose
        points = link.vertices.astype(float) @ place[:3, :3].T + place[:3, 3]
        pixels = points[:, :2] / points[:, 2:] * [camera.fx, camera.fy] + [camera.cx, camera.cy]
        for a, b, c in pixels[link.triangles]:
            e = [(p[0] - x) * (r[1] - y) - (r[0] - x) * (p[1] - y) for p, r in ((a, b), (b, c), (c, a))]
            mask |= np.logical_and.reduce([v >= 0 for v in e]) | np.logical_and.reduce([v <= 0 for v in e])
    return mask


def test_the_center_convention_samples_pixel_centres():
    spec = load_robot("arm4")
    with Renderer(spec) as renderer:
        for q in sobol(4, spec.limits, 3):
            differing = unpack(renderer.masks(q), 100)[0, 0] ^ plain_mask(spec, q)
            assert differing.sum() <= 1  # float against double, on an edge


def test_leaving_out_back_faces_of_closed_links_changes_nothing():
    spec = load_robot("arm4")
    opened = replace(spec, links=tuple(Link(k.name, k.vertices, k.triangles[np.r_[0 : len(k.triangles), 0]])
                                       for k in spec.links))  # one triangle twice: no longer a closed surface
    q = sobol(128, spec.limits, 2)
    with Renderer(spec) as closed, Renderer(opened) as both_sides:
        assert np.array_equal(closed.masks(q), both_sides.masks(q))


def test_open_meshes_are_drawn_from_both_sides():
    spec = load_robot("arm4")
    flipped = replace(spec, links=tuple(Link(k.name, k.vertices, k.triangles[: len(k.triangles) // 3, ::-1])
                                        for k in spec.links))
    third = replace(spec, links=tuple(Link(k.name, k.vertices, k.triangles[: len(k.triangles) // 3])
                                      for k in spec.links))
    q = sobol(16, spec.limits, 2)
    with Renderer(flipped) as a, Renderer(third) as b:
        assert np.array_equal(a.masks(q), b.masks(q))


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (64, 48), (129, 70), (1024, 640)])
def test_any_picture_size_works_and_depth_covers_the_mask(size):
    width, height = size
    view = load_robot("arm4").cameras[0]
    scale = width / view.width
    spec = replace(load_robot("arm4"), cameras=(replace(view, width=width, height=height, fx=view.fx * scale,
                                                        fy=view.fy * scale, cx=width / 2, cy=height / 2),))
    with Renderer(spec) as renderer:
        q = sobol(2, spec.limits, 0)
        masks, depth = unpack(renderer.masks(q), width), renderer.depth(q)
        assert masks.shape == (2, 1, height, width)
        assert np.isfinite(depth[masks]).mean() > 0.99 if masks.any() else True
        assert (np.isfinite(depth) == masks).mean() > 0.999


def test_geometry_that_reaches_behind_the_camera_is_clipped():
    spec = load_robot("arm4")
    inside = spec.cameras[0].world_to_cam.copy()
    inside[2, 3] = 0.02  # the camera stands in the middle of the arm
    near = replace(spec, cameras=(replace(spec.cameras[0], world_to_cam=inside, near=0.01),))
    with Renderer(near) as renderer:
        depth = renderer.depth(np.zeros(4))
        assert depth[np.isfinite(depth)].min() >= 0.01 * (1 - 1e-5)
        assert unpack(renderer.masks(np.zeros(4)), 100).any()


def test_several_cameras_are_rendered_in_order():
    spec = load_robot("arm4")
    both = replace(spec, cameras=(spec.cameras[0], replace(spec.cameras[0], fx=90.0, fy=90.0)))
    with Renderer(spec) as one, Renderer(both) as two:
        q = sobol(3, spec.limits, 0)
        assert np.array_equal(two.masks(q)[:, :1], one.masks(q))
        assert two.masks(q).shape[1] == 2


def test_bad_angles_and_a_closed_renderer_are_refused():
    renderer = Renderer(load_robot("arm4"))
    with pytest.raises(RobotError, match=r"expected \(N, 4\)"):
        renderer.masks(np.zeros(3))
    with pytest.raises(RuntimeFault):
        renderer.masks([0, 0, np.nan, 0])
    renderer.close()
    renderer.close()
    with pytest.raises(RuntimeFault, match="closed"):
        renderer.masks(np.zeros(4))


def test_a_scene_is_used_again_but_never_by_two_at_once():
    """Of eight robots in turn: more than are kept."""
    specs = [load_robot("arm4"), *(apply_damage(load_robot("arm4"), parse_event(f"bend:2:{d}")) for d in range(1, 8))]
    q = np.random.default_rng(5).uniform(-1.0, 1.0, (3, 4))
    expected = [masks_of(spec, q) for spec in specs]
    for _ in range(2):
        for spec, masks in zip(specs, expected, strict=True):
            with Renderer(spec) as first, Renderer(spec) as second:
                assert first._scene is not second._scene
                assert np.array_equal(first.masks(q), masks)
                assert np.array_equal(second.masks(q), masks)
            assert np.array_equal(masks_of(spec, q), masks)


def masks_of(spec, q):
    with Renderer(spec) as renderer:
        return renderer.masks(q)
