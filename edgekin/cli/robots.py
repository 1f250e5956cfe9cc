"""edgekin robots: what can be used by name."""

from __future__ import annotations

import click


@click.command()
@click.argument("robot", required=False)
def command(robot: str | None) -> None:
    """List the robots that can be used by name, or show the joints and cameras of one ROBOT."""
    from edgekin.robot import load_robot

    if robot is not None:
        _show(robot)
        return
    from edgekin.robot.loading import BUILTIN, known_robots, pybullet_data_folder

    for name in BUILTIN:
        click.echo(f"{name}  (built in, {len(load_robot(name).actuated)} joints)")
    for path in known_robots():
        click.echo(path)
    if pybullet_data_folder() is None:
        click.echo("More with pybullet_data: pip install 'edgekin[train]'")
    click.echo("Any URDF or RobotSpec YAML works by its path; see docs/robots.md.")


def _show(name: str) -> None:
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from edgekin.robot import load_robot

    spec = load_robot(name)
    table = Table(title=f"{spec.name}: {len(spec.links)} links, {sum(len(k.triangles) for k in spec.links)} triangles")
    for column in ("joint", "kind", "lower deg", "upper deg", "moves"):
        table.add_column(column)
    for number, joint in enumerate(spec.actuated, 1):
        low, high = np.degrees([joint.lower, joint.upper])
        table.add_row(f"{number} {joint.name}", joint.kind, f"{low:.1f}", f"{high:.1f}", spec.links[joint.child].name)
    Console().print(table)
    for view in spec.cameras:
        eye = -view.world_to_cam[:3, :3].T @ view.world_to_cam[:3, 3]
        click.echo(f"camera {view.width}x{view.height} at {np.round(eye, 3).tolist()} m, focal {view.fx:.1f} px, "
                   f"convention {spec.convention}")
