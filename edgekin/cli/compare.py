"""edgekin compare: every self-model on one robot, under one protocol, beside its floors and the published figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgekin.comparison.compare import Comparison, Step
    from edgekin.comparison.settings import CompareConfig


@click.command()
@click.argument("robot", required=False)
@click.option("--robot", "robot_option", metavar="ROBOT", help="The same as the argument.  [default: arm4]")
@click.option("--preset", type=click.Choice(["quick", "full"]), default="quick", show_default=True,
              help="quick: about four minutes, roughly who is where; full: to convergence, hours.")
@click.option("--models", metavar="NAME,...", help="Only these.  [default: all]")
@click.option("--run", "runs", multiple=True, metavar="MODEL=RUN",
              help="A finished run instead of training the model's row; may be repeated.")
@click.option("--budget", type=float, default=1.0, show_default=True, metavar="FACTOR",
              help="Of every training's time.")
@click.option("--jobs", type=int, metavar="N",
              help="Trainings at once.  [default: one a core, up to 8; 1 where there is a GPU]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of samples, weights and order.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Where everything goes.  [default: compare-ROBOT-PRESET among the runs]")
@click.option("--force", is_flag=True, help="Begin again what lies there; replace the JSON.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), metavar="PATH",
              help="A copy of FOLDER/compare.json, schema edgekin.compare/1.")
def command(robot: str | None, robot_option: str | None, json_path: Path | None, force: bool, **options: Any) -> None:
    """Train every self-model on ROBOT, measure it, and write tables, plots and pages.

    What is finished is kept: interrupted, the same command goes on where it was.
    """
    from edgekin.comparison.compare import compare
    from edgekin.output import check_output, write_json

    if robot is not None and robot_option is not None:
        raise click.UsageError(f"two robots are given: {robot} and {robot_option}")
    check_output(json_path, force)
    config = _config(robot or robot_option or "arm4", **options)
    with _Bars() as bars:
        found = compare(config, force, bars)
    if json_path is not None:
        write_json(json_path, found.result)
    _show(found)


def _config(robot: str, preset: str, models: str | None, runs: tuple[str, ...], **numbers: Any) -> CompareConfig:
    from edgekin.comparison.settings import CompareConfig

    given = {}
    for text in runs:
        model, mark, run = text.partition("=")
        if not (model and mark and run):
            raise click.UsageError(f"--run is {text!r}, expected MODEL=RUN")
        given[model] = run
    names = tuple(name.strip() for name in (models or "").split(",") if name.strip())
    return CompareConfig(robot, preset, names, given, **numbers).validated()


class _Bars:
    """Progress bars on stderr: the whole by its budget of seconds, and one for each thing at work."""

    def __enter__(self) -> _Bars:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        self.progress = Progress(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
                                 TimeElapsedColumn(), console=Console(stderr=True), transient=True)
        self.whole = self.progress.add_task("comparison", total=1.0)
        self.tasks = {"preparing": self.progress.add_task("preparing", total=None)}
        self.progress.start()
        return self

    def __call__(self, step: Step) -> None:
        self.progress.update(self.whole, completed=step.done_s / max(step.total_s, 1e-9))
        if "preparing" in self.tasks:
            self.progress.remove_task(self.tasks.pop("preparing"))
        if step.stage == "done":
            if step.what in self.tasks:
                self.progress.remove_task(self.tasks.pop(step.what))
        else:
            if step.what not in self.tasks:
                self.tasks[step.what] = self.progress.add_task(step.what, total=1.0)
            self.progress.update(self.tasks[step.what], completed=step.share, description=f"{step.what}: {step.stage}")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.progress.stop()
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            click.echo("what is finished is kept: the same command goes on", err=True)


def _show(found: Comparison) -> None:
    from rich.console import Console
    from rich.table import Table

    from edgekin.report import tables

    result, wide = found.result, Console().width
    console = Console(soft_wrap=True, width=max(wide, 120))
    text = tables.models(result)
    columns = [i for i, heading in enumerate(text.header) if heading not in ("MACs", "torch us", "ONNX Runtime us")]
    protocol = result["protocol"]
    shown = Table(title=f"{result['robot']['name']}, preset {protocol['preset']}, {protocol['n_train']:,} training and "
                        f"{protocol['n_test']:,} test samples; us are p50 / p99")
    for i in columns:
        shown.add_column(text.header[i], justify="right" if i else "left")
    for row in text.rows:
        shown.add_row(*(row[i] for i in columns))
    console.print(shown)
    for line in tables.why_not(result):
        console.print(line, highlight=False)
    console.print(f"page: {found.folder / 'compare.html'}", highlight=False)
