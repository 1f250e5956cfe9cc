"""The pages of a comparison: PNG and JSON of every plot, one Markdown and one HTML page that needs no other file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekin.errors import ConfigError
from edgekin.output import write_atomic, write_json
from edgekin.report import plots, tables
from edgekin.report.rendering import figures_of, rendered

Json = dict[str, Any]
MARKDOWN, HTML = "compare.md", "compare.html"
TEMPLATE = "compare.html.j2"

#: Plot -> its heading and what it shows.
PLOTS = {
    "pareto": ("Speed and quality", "Every model in every engine that runs it; the line joins what no other is both "
               "faster and better than."),
    "data_efficiency": ("What samples buy", "Each point is a training of its own with the seconds of the table; a star "
                        "is the row's training."),
    "panels": ("What they see", "Poses spread over the test split. Errors: blue is robot that was missed, red is robot "
               "that was made up."),
    "ablations": ("One thing changed at a time", "Each point is trained for as long as the model as it is, on as many "
                  "samples."),
}


def has(result: Json, name: str) -> bool:
    """Tell whether a result has something for a plot."""
    if name == "data_efficiency":
        return bool(result[name]["models"])
    return bool(result.get(name, True))


def draw(result: Json) -> dict[str, bytes]:
    """Return the PNG of every plot that the result has something for, by name.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    return {name: getattr(plots, name)(result) for name in PLOTS if has(result, name)}


def plotted(result: Json, name: str) -> Json:
    """Return what a plot shows, as its JSON."""
    if name == "pareto":
        rows = [{key: row[key] for key in ("model", "psnr_db", "latency_us", "parameters")} for row in result["rows"]]
        part: Json = {"rows": rows, "floors": result["floors"],
                      "front": [{"us": us, "psnr_db": db} for us, db in plots.front(result["rows"])]}
    else:
        part = {name: result[name]}
    return {"schema": f"edgekin.compare-{name.replace('_', '-')}/1", "revision": result["revision"],
            "seed": result["seed"], **part}


def markdown(result: Json, names: list[str], where: str = "{}.png", level: int = 1, title: str = "") -> str:
    """Return the Markdown page.

    Args:
        result: schema edgekin.compare/1.
        names: of the plots there are.
        where: a plot's file, with its name for the braces.
        level: of the page's heading.
        title: of the page; empty: the robot's name.
    """
    head = "#" * level
    lines = [f"{head} {title or _title(result)}", "", *_paragraphs(tables.about(result))]
    lines += [*tables.models(result).markdown(), ""]
    lines += [f"- {line}" for line in tables.why_not(result)] + [""]
    for name in names:
        heading, text = PLOTS[name]
        lines += [f"{head}# {heading}", "", text, "", f"![{heading}]({where.format(name)})", ""]
        if name == "data_efficiency":
            lines += [*tables.data_efficiency(result).markdown(), ""]
        if name == "ablations":
            for part in result["ablations"]:
                lines += [part["question"], "", *tables.ablation(part).markdown(), ""]
    lines += [f"{head}# Published beside measured", "", f"Published: {result['published']['what']}.", "",
              *tables.published(result).markdown(), "", *(f"- {line}" for line in result["published"]["caveats"]), ""]
    return "\n".join(lines)


def _title(result: Json) -> str:
    return f"Self-models of {result['robot']['name']}, compared"


def _paragraphs(sentences: list[str]) -> list[str]:
    return [line for sentence in sentences for line in (sentence, "")]


def html(result: Json, pictures: dict[str, bytes]) -> str:
    """Return the HTML page with its pictures inside.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    return rendered(
        TEMPLATE, title=_title(result), about=tables.about(result),
        models=tables.models(result), why_not=tables.why_not(result), figures=figures_of(PLOTS, pictures),
        efficiency=tables.data_efficiency(result), published=tables.published(result),
        ablations=[(part["question"], tables.ablation(part)) for part in result["ablations"]],
        what=result["published"]["what"], caveats=result["published"]["caveats"], best=_best(result))


def _best(result: Json) -> list[tuple[str, str, str]]:
    """Return the few figures that stand at the top: what, value, whose."""
    rows = result["rows"]
    best, small = rows[0], min(rows, key=lambda row: int(row["parameters"]))
    floor = max(result["floors"].values(), key=lambda f: float(f["psnr_db"]))["psnr_db"]
    found = [("best PSNR", f"{best['psnr_db']:.1f} dB", best["model"]),
             ("above the best floor", f"{best['psnr_db'] - floor:+.1f} dB", best["model"]),
             ("fewest parameters", f"{small['parameters']:,}", small["model"])]
    timed = [(t, row["model"]) for row in rows if (t := plots.fastest(row)) is not None]
    if timed:
        (engine, us), name = min(timed, key=lambda item: item[0][1])
        found.append(("fastest frame, p50", f"{us:,.0f} µs", f"{name}, {plots.ENGINE_NAMES[engine]}"))
    return found


def write_report(result: Json, folder: Path) -> list[Path]:
    """Write every plot as PNG and JSON, and both pages.

    Args:
        result: schema edgekin.compare/1.
        folder: exists; files of these names are replaced.

    Returns:
        The files.

    Raises:
        MissingExtra: matplotlib or jinja2 is not installed.
        ConfigError: the folder cannot be written to.
    """
    pictures = draw(result)
    files = {f"{name}.png": content for name, content in pictures.items()}
    files[MARKDOWN] = markdown(result, list(pictures)).encode()
    files[HTML] = html(result, pictures).encode()
    try:
        for name, content in files.items():
            write_atomic(folder / name, content)
    except OSError as error:
        raise ConfigError(f"cannot write into {folder}: {error.strerror}", "Choose another --out") from error
    for name in pictures:
        write_json(folder / f"{name}.json", plotted(result, name))
    return [folder / name for name in files]
