"""The page of a verification, with its plots inside; every plot lies beside it as PNG, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekin.errors import ConfigError
from edgekin.output import write_atomic
from edgekin.report import verify_plots, verify_tables
from edgekin.report.rendering import figures_of, rendered

Json = dict[str, Any]
TEMPLATE = "verify.html.j2"

#: Plot -> its heading and what it shows.
PLOTS = {
    "delays": ("How soon", "One panel for each kind of damage, one line for each joint. The dotted line is the length "
               "of the streams, which is what missed runs count as."),
    "operating": ("Beside other detectors", "All of them on the same streams. To the left is better in quiet, down is "
                  "better in haste."),
    "confusion": ("What it called it", "Runs that alarmed before anything had happened are left out."),
    "example": ("One damage, seen", "Difference: blue is seen and not expected, red is expected and not seen."),
    "aucs": ("Single frames", "Each of a pose of its own over the full range of every joint; 0.5 is chance."),
}


def has(result: Json, name: str) -> bool:
    """Tell whether a result has something for a plot."""
    joints = {case["damage"] for case in result["cases"] if case["joint"] is not None}
    return {"delays": bool(joints), "operating": bool(result["baselines"] and result["cases"]), "example": True,
            "confusion": any(map(any, result["confusion"]["classes"]["counts"])),
            "aucs": any(result["subject"] in by for name, by in result["auc"].items() if name in joints)}[name]


def draw(result: Json) -> dict[str, bytes]:
    """Return the PNG of every plot that the result has something for, by name; raises MissingExtra."""
    return {name: getattr(verify_plots, name)(result) for name in PLOTS if has(result, name)}


def html(result: Json, pictures: dict[str, bytes]) -> str:
    """Return the page with its pictures inside; raises MissingExtra."""
    t = verify_tables
    return rendered(TEMPLATE, title=f"{result['subject'].capitalize()} on {result['robot']['name']}, verified",
                    healthy=_sentence(t.healthy(result)), ratio=_sentence(t.ratio(result)), best=_best(result),
                    by_size=t.by_size(result), figures=figures_of(PLOTS, pictures), versus=t.versus(result),
                    kinds=t.kinds(result), nuisances=t.nuisances(result), cases=t.cases(result), about=t.about(result),
                    exec_us=_sentence(t.exec_us(result)))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _best(result: Json) -> list[tuple[str, str, str]]:
    """Return the few figures that stand at the top: what, value, more."""
    h, us, t = result["healthy"], result["exec_us"], verify_tables
    found = [("false alarms", f"{h['alarms']}", f"in {h['hours']:.3g} h; below {h['rate_bound_per_hour']:.3g} an hour")]
    own = result["versus"]["on_shared"]
    if own and own["median_frames"] is not None:
        found.append(("median delay", f"{own['median_frames']:g} frames", f"{own['median_ms']:,.0f} ms, all damages"))
    found.append(("part named right", t.percent(result["isolation_top1"]),
                  f"{t.percent(result['abstain_rate'])} undecided"))
    body = sum(n["body_alarms"] for n in result["nuisances"])
    if result["nuisances"]:
        found.append(("nuisances called body damage", str(body), f"of {sum(n['n'] for n in result['nuisances'])} runs"))
    if us is not None:
        found.append(("its time of a frame, p50", f"{us['p50']:,.0f} µs", f"p99 {us['p99']:,.0f} µs"))
    return found


def write_verify_page(result: Json, path: Path) -> None:
    """Write the page, and every plot as PNG beside it.

    Args:
        result: schema edgekin.verify/1.
        path: of the page; its folder exists.

    Raises:
        MissingExtra: matplotlib or jinja2 is not installed.
        ConfigError: the folder cannot be written to.
    """
    pictures = draw(result)
    try:
        for name, content in pictures.items():
            write_atomic(path.parent / f"{name}.png", content)
        write_atomic(path, html(result, pictures).encode())
    except OSError as error:
        raise ConfigError(f"cannot write into {path.parent}: {error.strerror}", "Choose another --out") from error
