"""edgekin prune: a run evolved until it fits a microcontroller."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgekin.evolution.prune import Options, Result
    from edgekin.evolution.search import Look

#: Where neither is asked for.
MINUTES = 30.0


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--flash", default="64KiB", show_default=True, help="What code and constants may take.")
@click.option("--ram", default="32KiB", show_default=True, help="What variables may take; the stack comes on top.")
@click.option("--instructions", default="1M", show_default=True, help="What a tick may take: predict and score.")
@click.option("--core", default="m7", show_default=True, help="m3, m4, m7, m33, m55 or rv32.")
@click.option("--generations", type=int, help="Repeatable under a seed; instead of minutes.")
@click.option("--minutes", type=float, help=f"Of the whole: search, controls, last training.  [default: {MINUTES:g}]")
@click.option("--population", type=int, default=16, show_default=True, help="Members of both islands together.")
@click.option("--steps", type=int, default=200, show_default=True, help="Of training, of every member.")
@click.option("--jobs", type=int, help="Processes.  [default: one for each core]")
@click.option("--scheduler", default="", metavar="TCP", help="Evaluate on a Dask cluster: tcp://host:port.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything that is drawn.")
@click.option("--out", type=click.Path(path_type=Path), help="The new run.  [default: RUN-CORE]")
@click.option("--resume", is_flag=True, help="Go on in --out with its settings, but for generations or minutes.")
@click.option("--force", is_flag=True, help="Replace an existing JSON.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), metavar="PATH",
              help="Write the result (schema edgekin.prune/1).")
def command(run: Path | None, json_path: Path | None, force: bool, **options: Any) -> None:
    """Evolve the model of a RUN (by default the latest) until it keeps hard budgets on a microcontroller.

    Decoders grow from small seeds and shrink from the trained network, on two islands; children inherit weights, are
    distilled from the run's body model, quantized and weighed. The best becomes a run, which `edgekin compile --int8
    --target mcu` exports. Beside it stands what the same training gives without evolution.
    """
    from edgekin.evolution.prune import prune
    from edgekin.output import check_output, write_json

    check_output(json_path, force)
    asked = _options(run, options)
    with _Live() as live:
        result = prune(asked, live)
    if json_path is not None:
        write_json(json_path, result.to_json())
    _show(result)


def _options(run: Path | None, options: dict[str, Any]) -> Options:
    import os

    from edgekin.evolution.problem import Costs, amount
    from edgekin.evolution.prune import Options
    from edgekin.training.run import latest_run, load_run

    if options["resume"] and options["out"] is None and run is None:
        raise click.UsageError("--resume needs --out, the folder of the search")
    core = options["core"]
    source = Path("-") if options["resume"] and run is None else load_run(run if run is not None else latest_run()).path
    budgets = Costs(*(amount(options.pop(name), f"--{name}") for name in ("flash", "ram", "instructions")))
    if options["minutes"] is None and options["generations"] is None:
        options["minutes"] = MINUTES
    options["out"] = options["out"] or source.with_name(f"{source.name}-{core}")
    options["jobs"] = options["jobs"] or len(os.sched_getaffinity(0))
    return Options(run=str(source), budgets=budgets, **options).validated()


class _Live:
    """On stderr: the front, the species, how far the budget is used."""

    def __enter__(self) -> _Live:
        from rich.console import Console
        from rich.live import Live

        self.console = Console(stderr=True, soft_wrap=True, highlight=False)
        self.live = Live(console=self.console, transient=True, refresh_per_second=4)
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def __call__(self, what: Look | tuple[str, int, int] | str) -> None:
        if isinstance(what, str):
            self.console.print(f"edgekin: {what}", style="yellow", markup=False)
        elif isinstance(what, tuple):
            self.live.update(f"{what[0]}: {what[1]} of {what[2]}")
        else:
            self.live.update(_table(what))


def _table(look: Look) -> Any:
    from rich.table import Table

    species = ", ".join(f"{name} {n}" for name, n in look.species.items())
    table = Table(title=f"generation {look.generation}, {look.done} of {look.asked}; {look.evaluated} evaluated, "
                        f"{look.seconds:,.0f} s; species: {species}")
    for heading in ("PSNR dB", "IoU", "flash", "RAM", "instructions", "born", "island"):
        table.add_column(heading, justify="right")
    for m in look.front[:8]:
        costs = m.outcome.costs
        table.add_row(f"{m.outcome.psnr_db:.2f}", f"{m.outcome.iou:.4f}", f"{costs.flash_bytes:,.0f}",
                      f"{costs.ram_bytes:,.0f}", f"{costs.instructions:,.0f}", str(m.born), m.island)
    return table


def _show(result: Result) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True, highlight=False)
    budgets, state = result.options.budgets, result.state
    table = Table(title=f"{result.options.run} on {result.problem.core}: flash {budgets.flash_bytes:,}, RAM "
                        f"{budgets.ram_bytes:,} bytes, {budgets.instructions:,} instructions; INT8, validation poses")
    for heading in ("", "PSNR dB", "IoU", "flash", "RAM", "instructions", "training steps"):
        table.add_column(heading, justify="right", no_wrap=True)
    best = result.best.member
    rows = [("evolved", best.outcome, result.best.costs, best.steps)]
    rows += [(name, c.outcome, c.outcome.costs, c.steps) for name, c in result.controls.items() if c.outcome]
    for name, outcome, costs, steps in rows:
        over = "" if costs.excess(budgets) == 0 else ", beyond the budgets"
        table.add_row(name + over, f"{outcome.psnr_db:.2f}", f"{outcome.iou:.4f}", f"{costs.flash_bytes:,.0f}",
                      f"{costs.ram_bytes:,.0f}", f"{costs.instructions:,.0f}", f"{steps:,}",
                      style="bold" if name == "evolved" else "")
    console.print(table)
    for name in sorted({"scratch", "uniform", "magnitude", "random"} - {name for name, *_ in rows}):
        console.print(f"control {name}: nothing that keeps the budgets was found")
    console.print(f"{state.born} evaluated in {state.generation} generations, {state.failed} could not be trained; "
                  f"{state.steps:,} training steps of the search, the winner's line {best.steps:,}; seed "
                  f"{result.options.seed}")
    if result.not_emulated:
        console.print(f"the front was not measured, its figures are predicted: {result.not_emulated}", style="yellow")
    else:
        wrong = sum(int(n or 0) for n in (*(e.mismatches for e in result.front),
                                          *(c.mismatches for c in result.controls.values())))
        console.print(f"all were measured on the emulated {result.problem.core}: {len(result.front)} of the front, "
                      f"{wrong} outputs that differ from the reference")
    console.print(f"test split: {result.test['psnr_db']:.2f} dB, IoU {result.test['iou']:.4f} in FP32\n"
                  f"run: {result.options.out}; plots: {result.options.out / 'evolution'}\n"
                  f"next: edgekin compile {result.options.out} --int8 --target mcu --core {result.problem.core}")
