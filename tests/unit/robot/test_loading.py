"""Robots from names, URDFs and YAML; and every way in which they can be wrong."""

import struct
from dataclasses import replace

import numpy as np
import pytest
import yaml
from robots import BOX, URDF, seed_arm, write

from edgekin.errors import ConfigError, RobotError
from edgekin.robot import RobotOptions, load_robot, published_options, robot_sha256, save_robot
from edgekin.robot.loading import known_robots, pybullet_data_folder


def same_robot(a, b):
    assert (a.name, a.urdf, a.path, a.convention) == (b.name, b.urdf, b.path, b.convention)
    for one, two in zip(a.links, b.links, strict=True):
        assert one.name == two.name
        assert np.array_equal(one.vertices, two.vertices)
        assert np.array_equal(one.triangles, two.triangles)
    for one, two in zip(a.joints, b.joints, strict=True):
        assert (one.name, one.kind, one.parent, one.child, one.lower, one.upper, one.actuated, one.rest) == (
            two.name, two.kind, two.parent, two.child, two.lower, two.upper, two.actuated, two.rest)
        assert np.array_equal(one.origin, two.origin)
        assert np.array_equal(one.axis, two.axis)
    for one, two in zip(a.cameras, b.cameras, strict=True):
        assert np.array_equal(one.world_to_cam, two.world_to_cam)
        assert (one.width, one.height, one.fx, one.cx, one.near) == (two.width, two.height, two.fx, two.cx, two.near)
    assert np.array_equal(a.base, b.base)
    assert robot_sha256(a) == robot_sha256(b)


def test_the_builtin_arm_has_four_joints_of_ninety_degrees():
    spec = load_robot("arm4")
    assert np.allclose(spec.limits, [[-np.pi / 2, np.pi / 2]] * 4)
    assert spec.path == "builtin:arm4"
    assert all(len(link.triangles) for link in spec.links)


@pytest.mark.parametrize(("name", "joints"), [("kuka_iiwa/model.urdf", 7), ("franka_panda/panda.urdf", 7),
                                              ("xarm/xarm6_robot.urdf", 6)])
def test_robots_of_pybullet_data_load_by_their_relative_path(name, joints):
    if pybullet_data_folder() is None:
        pytest.skip("needs pybullet_data: pip install 'edgekin[train]'")
    spec = load_robot(name)
    assert len(spec.actuated) == joints
    assert name in known_robots()


def test_fingers_and_mimic_joints_are_held_at_rest():
    if pybullet_data_folder() is None:
        pytest.skip("needs pybullet_data: pip install 'edgekin[train]'")
    spec = load_robot("franka_panda/panda.urdf")
    assert [j.name for j in spec.joints if j.kind == "prismatic" and j.actuated] == []


def test_package_names_resolve_above_the_urdf():
    spec = load_robot(seed_arm(), published_options())
    assert np.allclose(spec.limits, [[-np.pi / 2, np.pi / 2]] * 4)
    assert np.allclose(spec.base[:3, 3], [0, 0, -0.108])
    assert spec.cameras[0].fx == pytest.approx(130.2545, abs=1e-4)


@pytest.mark.parametrize("options", [
    RobotOptions(),
    RobotOptions(joints=("yaw", "elbow"), rest={"wrist": 0.3}, limits={"yaw": (-1.0, 0.7)}, convention="tinyrenderer"),
])
def test_a_saved_robot_comes_back_the_same_from_another_folder(tmp_path, options):
    spec = load_robot("arm4", options)
    (tmp_path / "a").mkdir()
    save_robot(spec, tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    same_robot(load_robot(str(tmp_path / "b" / "robot.yaml")), spec)


def test_the_hash_follows_what_the_robot_looks_like():
    spec = load_robot("arm4")
    hashes = {robot_sha256(s) for s in (spec, replace(spec, convention="tinyrenderer"),
                                        replace(spec, base=2 * spec.base),
                                        replace(spec, urdf=spec.urdf + " "), replace(spec, links=spec.links[:-1]),
                                        replace(spec, cameras=(replace(spec.cameras[0], fx=1.0),)))}
    assert len(hashes) == 6
    assert robot_sha256(load_robot("arm4")) == robot_sha256(spec)


def test_a_yaml_chooses_joints_limits_base_and_cameras(tmp_path):
    entry = {"urdf": "arm4", "joints": ["shoulder", "elbow"], "limits": {"elbow": [-0.5, 0.5]}, "rest": {"yaw": 0.2},
             "base": {"xyz": [0, 0, 0.1], "rpy_deg": [0, 0, 90]}, "convention": "tinyrenderer",
             "cameras": [{"eye": [1, 0, 0.3], "target": [0, 0, 0.3], "width": 64, "height": 48},
                         {"pose": {"xyz": [0, 0, 2], "rpy_deg": [180, 0, 0]}, "fx": 90, "cx": 30, "width": 64,
                          "height": 48}]}
    spec = load_robot(write(tmp_path, yaml.safe_dump(entry), "my.yaml"))
    assert [j.name for j in spec.actuated] == ["shoulder", "elbow"]
    assert spec.limits[1].tolist() == [-0.5, 0.5]
    assert spec.joints[0].rest == 0.2
    assert np.allclose(spec.base[:3, :3] @ [1, 0, 0], [0, 1, 0])
    assert spec.cameras[1].fy == 90
    assert spec.cameras[1].cx == 30
    assert np.allclose(spec.cameras[1].world_to_cam @ [0, 0, 0, 1], [0, 0, 2, 1])


def test_the_automatic_camera_keeps_the_arm_in_the_picture():
    from edgekin.sim.collect import uniform_dataset

    masks = uniform_dataset(load_robot("arm4"), 256, 0).masks[:, 0]
    edge = masks[:, [0, -1]].any(axis=(1, 2)) | masks[:, :, [0, -1]].any(axis=(1, 2))
    assert edge.mean() < 0.02
    assert masks.any(axis=0).mean() > 0.3


def ascii_stl(folder):
    path = folder / "tri.stl"
    path.write_text("solid t\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\n"
                    "endfacet\nendsolid t\n")
    return path


def test_mesh_formats_give_the_same_triangle(tmp_path):
    from edgekin.robot.mesh import load_mesh

    binary = tmp_path / "b.stl"
    binary.write_bytes(b"solid but binary".ljust(80) + struct.pack("<I", 1)
                       + struct.pack("<12fH", 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0))
    (tmp_path / "t.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1/1/1 2/2/2 -1\n")
    (tmp_path / "t.dae").write_text("""<COLLADA xmlns="x"><asset><unit meter="0.5"/></asset><library_geometries>
      <geometry id="g"><mesh><source id="p"><float_array id="a" count="9">0 0 0 1 0 0 0 1 0</float_array></source>
      <vertices id="v"><input semantic="POSITION" source="#p"/></vertices><triangles count="1">
      <input semantic="VERTEX" source="#v" offset="0"/><p>0 1 2</p></triangles></mesh></geometry></library_geometries>
      <library_visual_scenes><visual_scene><node><scale>2 2 2</scale><instance_geometry url="#g"/></node></visual_scene>
      </library_visual_scenes></COLLADA>""")
    for path in (ascii_stl(tmp_path), binary, tmp_path / "t.obj", tmp_path / "t.dae"):
        vertices, triangles = load_mesh(path)
        assert vertices[triangles[0]].tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]], path


@pytest.mark.parametrize(("name", "content", "match"), [
    ("a.stl", b"x" * 200, "announces"), ("b.stl", b"", "announces"),
    ("c.stl", b"solid x\nvertex 0 0 0\n", "ends early"),
    ("d.obj", b"v 0 0 0\nf 1 2 3\n", "names vertex"),
    ("e.obj", b"v nan 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3\n", "not finite"),
    ("f.dae", b"<COLLADA/>", "places no geometry"), ("g.dae", b"<COLLADA", "well-formed"),
    ("h.ply", b"ply", "unknown kind"),
])
def test_damaged_meshes_are_refused(tmp_path, name, content, match):
    (tmp_path / name).write_bytes(content)
    mesh = f'<visual><geometry><mesh filename="{name}"/></geometry></visual>'
    with pytest.raises(RobotError, match=match):
        load_robot(write(tmp_path, URDF.replace(BOX, mesh, 1)))


@pytest.mark.parametrize(("text", "match"), [
    ("<robot", "not well-formed"),
    ("<sdf/>", "root element"),
    ('<!DOCTYPE robot [<!ENTITY a "b">]><robot/>', "document type"),
    (URDF.replace('<child link="arm"/>', '<child link="nothing"/>'), "child link 'nothing'"),
    (URDF.replace('type="revolute"', 'type="ball"'), "type 'ball'"),
    (URDF.replace('type="revolute"', 'type="floating"'), "no single coordinate"),
    (URDF.replace('xyz="0 1 0"', 'xyz="0 0 0"'), "axis 0 0 0"),
    (URDF.replace('xyz="0 1 0"', 'xyz="0 1"'), "expected 3 finite numbers"),
    (URDF.replace('xyz="0 1 0"', 'xyz="0 nan 0"'), "expected 3 finite numbers"),
    (URDF.replace('lower="-1"', 'lower="2"'), "above the upper"),
    (URDF.replace('<link name="arm">', '<link name="base">'), "used twice"),
    (URDF.replace('<parent link="base"/>', '<parent link="arm"/>'), "root links|loop"),
    (URDF.replace("</robot>", '<link name="alone"/></robot>'), "2 root links"),
    (URDF.replace(BOX, ""), "no visible geometry"),
    (URDF.replace('<box size="0.1 0.1 0.4"/>', "<heightmap/>"), "geometry 'heightmap'"),
    (URDF.replace('<box size="0.1 0.1 0.4"/>', '<mesh filename="package://p/m.stl"/>'), "mesh not found"),
    (URDF.replace('type="revolute"', 'type="fixed"'), "0 actuated joints"),
])
def test_malformed_urdfs_are_refused_with_what_is_wrong(tmp_path, text, match):
    with pytest.raises(RobotError, match=match) as caught:
        load_robot(write(tmp_path, text))
    assert caught.value.hint


@pytest.mark.parametrize(("change", "match"), [
    ({"jionts": ["yaw"]}, "Did you mean 'joints'"), ({"joints": ["yow"]}, "Did you mean 'yaw'"),
    ({"limits": {"elbov": [0, 1]}}, "Did you mean 'elbow'"), ({"limits": {"elbow": [1, 0]}}, "lower < upper"),
    ({"limits": {"elbow": [1]}}, "expected 2"), ({"convention": "centre"}, "Did you mean 'center'"),
    ({"base": {"xyz": [0, 0]}}, "base.xyz"), ({"cameras": [{"eye": [0, 0, 1]}]}, "no direction"),
    ({"cameras": [{"target": [0, 0, 1]}]}, "placed by nothing"),
    ({"cameras": [{"eye": [1, 0, 0], "fov_deg": 200}]}, "fov_deg"),
    ({"cameras": [{"eye": [1, 0, 0], "width": 4096}]}, "width 4096"),
    ({"cameras": [{"eye": [1, 0, 0], "fov": 42}]}, "'fov'"), ({"cameras": 3}, "list"),
])
def test_a_yaml_that_asks_for_what_does_not_exist_is_refused(tmp_path, change, match):
    path = write(tmp_path, yaml.safe_dump({"urdf": "arm4", **change}), "my.yaml")
    with pytest.raises(ConfigError, match=match):
        load_robot(path)


def test_a_camera_that_never_sees_the_robot_is_refused(tmp_path):
    entry = {"urdf": "arm4", "cameras": [{"eye": [1, 0, 0.3], "target": [2, 0, 0.3]}]}
    with pytest.raises(RobotError, match="camera 0 sees no part"):
        load_robot(write(tmp_path, yaml.safe_dump(entry), "my.yaml"))


def test_a_robot_that_is_not_there_is_one_clear_line():
    with pytest.raises(RobotError, match=r"'nowhere\.urdf' not found"):
        load_robot("nowhere.urdf")


def test_truncated_saved_meshes_are_refused(tmp_path):
    save_robot(load_robot("arm4"), tmp_path)
    meshes = tmp_path / "robot_meshes.npz"
    meshes.write_bytes(meshes.read_bytes()[:1000])
    with pytest.raises(RobotError, match="cannot be read"):
        load_robot(str(tmp_path / "robot.yaml"))
