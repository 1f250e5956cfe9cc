"""edgekin verify: how well a detector of damage works, on simulated streams, beside other detectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from edgekin.report.tables import Table as Text
    from edgekin.verification.verify import Step, Verified


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--hours", type=float, default=3.0, show_default=True, help="Of healthy motion.")
@click.option("--cases", default="all", show_default=True, metavar="all|quick|FILE|KIND:...,...",
              help="Damages and nuisances: every one (edgekin damages), one size of each, those of a YAML file, or "
                   "some: bend:2,lost:3,bend:2:7+camera-bump:1.")
@click.option("--runs", type=int, default=20, show_default=True, metavar="N", help="Of every damage.")
@click.option("--nuisance-runs", type=int, metavar="N", help="Of every nuisance.  [default: as --runs]")
@click.option("--camera-hz", type=float, default=60.0, show_default=True, help="Frames a second.")
@click.option("--cameras", type=int, metavar="N", help="The bundle's first N.  [default: all]")
@click.option("--false-alarms-per-hour", type=float, default=1.0, show_default=True, metavar="RATE",
              help="That the baselines' thresholds are set to.")
@click.option("--baselines/--no-baselines", default=True, show_default=True,
              help="Watch with simple detectors and those of river and pyod, too.")
@click.option("--jobs", type=int, metavar="N", help="Processes.  [default: one a core]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of all streams.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Where everything goes.  [default: verify-RUN-BUNDLE among the runs]")
@click.option("--force", is_flag=True, help="Begin again what lies there; replace the JSON and the page.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), metavar="PATH",
              help="A copy of FOLDER/verify.json, schema edgekin.verify/1.")
@click.option("--html", "html_path", type=click.Path(path_type=Path), metavar="PATH",
              help="A copy of FOLDER/verify.html.")
def command(bundle: Path | None, force: bool, json_path: Path | None, html_path: Path | None, **options: Any) -> None:
    """Verify the damage detector of a BUNDLE (by default the latest) on simulated streams.

    False alarms on healthy motion; delays, misses, names, parts and sizes on damages; what nuisances are called; all
    beside other detectors on the same streams. What is finished is kept: interrupted, the same command goes on, and
    more hours, runs or cases only add to it.
    """
    from rich.console import Console

    from edgekin.bundle import latest_bundle
    from edgekin.output import check_output, write_atomic, write_json
    from edgekin.verification.settings import VerifyConfig
    from edgekin.verification.verify import PAGE, Verifier

    check_output(json_path, force)
    check_output(html_path, force, "--html")
    verifier = Verifier(VerifyConfig(bundle or latest_bundle(), **options), force)
    Console(stderr=True, soft_wrap=True).print(verifier.plan.about, highlight=False)
    with _Bar() as bar:
        found = verifier.verify(bar)
    if json_path is not None:
        write_json(json_path, found.result)
    if html_path is not None:
        write_atomic(html_path, (found.folder / PAGE).read_bytes())
    _show(found)


class _Bar:
    """A progress bar on stderr with the time that is left."""

    def __enter__(self) -> _Bar:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Left

        self.progress = Progress(BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("left"), Left(),
                                 TextColumn("{task.description}"), console=Console(stderr=True), transient=True)
        self.task = self.progress.add_task("opening", total=1.0)
        self.progress.start()
        return self

    def __call__(self, step: Step) -> None:
        self.progress.update(self.task, completed=step.share, description=step.what)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.progress.stop()
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            click.echo("what is finished is kept: the same command goes on", err=True)


def _show(found: Verified) -> None:
    from rich.console import Console

    from edgekin.report import verify_tables as t

    result = found.result
    console = Console(soft_wrap=True, width=max(Console().width, 140))
    if result["cases"]:
        _table(console, t.by_size(result), f"{result['subject']} on {result['robot']['name']}: median delay in frames "
                                           "by joint; shares over all joints")
    if result["nuisances"]:
        _table(console, t.nuisances(result), "nuisances: never body damage")
    if result["baselines"]:
        _table(console, t.versus(result), "beside other detectors, on the same streams")
    for line in (t.healthy(result), t.ratio(result), t.exec_us(result), f"page: {found.folder / 'verify.html'}"):
        console.print(line, highlight=False)


def _table(console: Console, text: Text, title: str) -> None:
    from rich.table import Table

    table = Table(title=title)
    for number, heading in enumerate(text.header):
        table.add_column(heading, justify="right" if number else "left")
    for row in text.rows:
        table.add_row(*row)
    console.print(table)
