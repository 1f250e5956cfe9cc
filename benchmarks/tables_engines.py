"""Write docs/engines.md and its bar charts from the recorded comparison of engines; for benchmarks/tables.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "engines.md"
BEGIN, END = "<!-- engines: written by benchmarks/tables.py -->", "<!-- end of engines -->"
NAMES = {"torch": "torch eager", "torch_compile": "torch.compile", "onnxruntime": "ONNX Runtime",
         "openvino": "OpenVINO", "litert": "LiteRT (XNNPACK)", "edgekin": "**edgekin**"}
RATIOS = {"onnxruntime_fp32": "", "best_peer": "the fastest peer, ", "best_fp32_peer": "the fastest FP32 peer, ",
          "ours_fp32_to_best_fp32_peer": "the fastest FP32 peer, "}


def recorded(folder: Path) -> list[dict[str, Any]]:
    """Return the comparisons of one machine, by model."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("engines-*.json"))]


def between(page: Path, begin: str, end: str, body: str) -> tuple[str, str]:
    """Return a page as it is, and with other text between its marks."""
    text = page.read_text()
    head, rest = text.split(begin)
    return text, f"{head}{begin}\n{body}\n{end}{rest.split(end)[1]}"


def cpu_of(machine: dict[str, Any]) -> str:
    """Return a recorded machine's processor, with its generation."""
    return f"{machine['cpu']} {machine.get('generation', '')}".strip()


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Return a Markdown table whose first column is text."""
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def engines(result: dict[str, Any]) -> list[str]:
    """Return the table of all engines, slowest first."""
    rows = []
    for e in sorted(result["engines"], key=lambda e: -e["p50_us"]):
        rare = "-" if e["p99_9_us"] is None else f"{e['p99_9_us']:,.0f}"
        rows.append([f"{NAMES[e['name']]} {e['precision'].upper()}", f"{e['p50_us']:,.0f}", f"{e['p99_us']:,.0f}", rare,
                     f"{e['max_us']:,.0f}", f"{e['n']:,}", f"{e['peak_rss_mb']:,.0f}", f"{e['bytes']:,}",
                     f"{e['psnr_db']:.2f}"])
    return table(["engine", "p50 us", "p99", "p99.9", "max", "frames", "peak RSS MB", "bytes", "PSNR dB"], rows)


def layers(result: dict[str, Any]) -> list[str]:
    """Return the table of our INT8 engine's layers beside the roofline."""
    rows = []
    for layer in result["profile"]["int8"]["layers"]:
        if layer["roofline_share"] is None:
            continue
        shape = "x".join(str(n) for n in layer["out_shape"] if n > 1) or "1"
        rows.append([layer["name"], shape, f"{layer['macs']:,}", f"{layer['weight_bytes'] + layer['map_bytes']:,}",
                     f"{layer['p50_us']:.1f}", f"{layer['share']:.1%}", f"{layer['roofline_share']:.0%}"])
    return table(["layer", "output", "MACs", "bytes", "p50 us", "time", "of the roofline"], rows)


def ratios(result: dict[str, Any]) -> list[str]:
    """Return one line a ratio, with its spread over the rounds."""
    lines = []
    for name, value in result["ratios"].items():
        s = result["ratio_spread"][name]
        ours, (peer, precision) = s["ours"].rsplit("_", 1)[1].upper(), s["peer"].rsplit("_", 1)
        lines.append(f"- our {ours} is **{value:.2f}** times as fast as {RATIOS[name]}{NAMES[peer]} "
                     f"{precision.upper()} ({s['p10']:.2f} to {s['p90']:.2f}: 10th and 90th percentile of the rounds)")
    return lines


def block(result: dict[str, Any], chart: str) -> list[str]:
    """Return everything about one network."""
    network, roof, levels = result["network"], result["roofline"], result["roofline"]["read_gb_s_by_level"]
    lines = [f"### {result['model']}", "",
             f"{network['parameters']:,} parameters, {network['macs']:,} MACs a frame, robot {result['robot']}; "
             f"revision {result['revision']}, {result['settings']['rounds']} rounds.", "",
             f"![{result['model']}]({chart})", "", *engines(result), "", *ratios(result), ""]
    lines += [f"- not run: {key}: {why}" for key, why in result["not_run"].items()]
    lines += [
        f"Numpy scores a peer's logits in {result['numpy_score_p50_us']:.0f} us p50; ours are scored in the engine.",
        "",
        f"Roofline of this core ({roof['isa']}): {roof['int8_gmacs']:.1f} GMAC/s INT8, {roof['fp32_gmacs']:.1f} GMAC/s "
        f"FP32; reads {levels['l2']:.0f} GB/s from L2, {levels['l3']:.0f} from a 2 MiB buffer, {levels['dram']:.1f} "
        f"from memory, {roof['read_gb_s']:.0f} from a buffer as large as the INT8 weights. Our INT8 frame reaches "
        f"{result['roofline_share']:.0%} of it, FP32 {result['roofline_share_fp32']:.0%}.", "", *layers(result), "",
        following(result), ""]
    return lines


def following(result: dict[str, Any]) -> str:
    """Return one line about frames that are near each other."""
    int8, fp32 = (result["profile"][precision]["following"] for precision in ("int8", "fp32"))
    speed = int8["step_rad"] * 1000
    return (f"Above, poses are far apart. Following an arm that moves at {speed:.1f} rad/s, a frame each ms: INT8 "
            f"{int8['p50_us']:.0f} us p50, {int8['p99_us']:.0f} p99; FP32, which computes every frame anew, "
            f"{fp32['p50_us']:.0f} and {fp32['p99_us']:.0f}.")


def chart(result: dict[str, Any], path: Path) -> None:
    """Draw p50 of every engine as bars; the table has the tails."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = sorted(result["engines"], key=lambda e: -e["p50_us"])
    labels = [f"{NAMES[e['name']].strip('*')} {e['precision'].upper()}" for e in rows]
    colours = ["#d1495b" if e["name"] == "edgekin" else "#8d99ae" for e in rows]
    figure, axes = pyplot.subplots(figsize=(8, 0.36 * len(rows) + 1.1), layout="constrained")
    axes.barh(labels, [e["p50_us"] for e in rows], color=colours)
    for label, e in zip(labels, rows, strict=True):
        axes.annotate(f"{e['p50_us']:,.0f}", (e["p50_us"], label), xytext=(6, 0),
                      textcoords="offset points", va="center", fontsize=9)
    axes.margins(x=0.12)
    axes.set_xlabel("us a frame, joint angles to residual, one core, batch 1, p50")
    machine = f"{result['machine']['cpu']}, {result['profile']['int8']['isa']}"
    axes.set_title(f"{result['model']}: {result['network']['macs'] / 1e6:.1f} million MACs, {machine}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def where(result: dict[str, Any]) -> str:
    """Return one line about the machine of a comparison and the versions of the peers."""
    machine, versions = result["machine"], result["versions"]
    return (f"Recorded on {machine['cpu']} ({', '.join(machine['isa'])}), {machine['cores']} cores"
            f"{', virtual' if machine['virtual'] else ''}, Linux {machine['kernel']}; "
            + ", ".join(f"{package} {version}" for package, version in versions.items()) + ".")


def overview(machines: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return the table of our engine beside the peers, a row for each network on each machine."""
    rows = []
    for name, results in machines.items():
        for result in results:
            p50 = {(e["name"], e["precision"]): e["p50_us"] for e in result["engines"]}
            shares = [f"{result['ratios'][key]:.2f}" for key in RATIOS]
            rows.append([f"[{name}](#{name})", result["model"], result["profile"]["int8"]["isa"],
                         f"{p50['edgekin', 'int8']:,.0f}", f"{p50['edgekin', 'fp32']:,.0f}", *shares])
    return table(["machine", "network", "instructions", "INT8 us", "FP32 us", "INT8 : ONNX Runtime FP32",
                  "INT8 : fastest peer", "INT8 : fastest FP32 peer", "FP32 : fastest FP32 peer"], rows)


def page(draw: bool) -> str:
    """Return the generated part of docs/engines.md, a section for each machine; with draw also write the charts."""
    machines = {folder.name: recorded(folder) for folder in sorted(RESULTS.glob("*")) if folder.is_dir()}
    machines = {name: results for name, results in machines.items() if results}
    lines = [*overview(machines), ""]
    for name, results in machines.items():
        lines += [f"## {name}", "", where(results[0]), ""]
        for result in results:
            picture = f"engines-{result['model']}-{name}.png"
            if draw:
                chart(result, PAGE.parent / picture)
            lines += block(result, picture)
    return "\n".join(lines).rstrip()


def rewritten(draw: bool) -> tuple[str, str]:
    """Return docs/engines.md as it is, and with its generated part made anew."""
    return between(PAGE, BEGIN, END, page(draw))
