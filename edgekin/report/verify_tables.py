"""The tables of a verification as text, for the terminal and the page alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgekin.report.tables import NONE, Table

Json = dict[str, Any]


def frames(value: float | None) -> str:
    """Return a number of frames."""
    return NONE if value is None else f"{value:,.0f}"


def percent(share: float | None) -> str:
    """Return a share."""
    return NONE if share is None else f"{100 * share:.0f}%"


def number(value: float | None, digits: int = 2) -> str:
    """Return a number of so many significant digits, or all of those before the point."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def mostly_missed(case: Json) -> bool:
    """Tell whether the median delay is that of missed runs, the length of a stream."""
    return bool(case["missed"] > 0 and 2 * case["missed"] >= 1.0 - case["early"])


def delay(case: Json) -> str:
    """Return a case's median delay, or that it is missed."""
    if case["median_frames"] is None:
        return NONE
    return "missed" if mostly_missed(case) else frames(case["median_frames"])


def _mean(cases: Sequence[Json], field: str, weight: str = "n") -> float | None:
    told = [(case[field], case[weight]) for case in cases if case[field] is not None and case[weight]]
    total = sum(w for _, w in told)
    return sum(value * w for value, w in told) / total if total else None


def label(case: Json) -> str:
    """Return a case without its joint: bend 5, or its name where it is none of the catalogue's."""
    if not case["damage"].startswith(case["kind"]):
        return str(case["damage"])
    return case["kind"] if case["size"] is None else f"{case['kind']} {case['size']:g}"


def by_size(result: Json) -> Table:
    """Return every kind and size in a line: the median delay of each joint, and shares over all joints."""
    joints = result["robot"]["joints"]
    lines: dict[str, list[Json]] = {}
    for case in result["cases"]:
        lines.setdefault(label(case), []).append(case)
    rows = []
    for name, cases in lines.items():
        at = {case["joint"]: case for case in cases}
        unit = {"DEG_PER_MIN": "deg"}.get(cases[0]["unit"], cases[0]["unit"].lower())
        error = _mean(cases, "size_error")
        delays = [delay(at[j]) if j in at else NONE for j in range(1, len(joints) + 1)]
        if None in at:  # of no joint, or of several
            delays = [delay(at[None]), *([NONE] * (len(joints) - 1))]
        rows.append((name, *delays, percent(_mean(cases, "missed")), percent(_mean(cases, "early")),
                     percent(_mean(cases, "class_right")), percent(_mean(cases, "isolation_top1", "decided")),
                     percent(_mean(cases, "abstained")), NONE if error is None else f"{number(error)} {unit}"))
    return Table(("damage", *joints, "missed", "too early", "class right", "part right", "undecided", "size error"),
                 tuple(rows))


def cases(result: Json) -> Table:
    """Return every case in a line."""
    rows = [(case["damage"], str(case["n"]), frames(case["median_frames"]), frames(case["p95_frames"]),
             frames(case["median_ms"]), frames(case["p95_ms"]), percent(case["missed"]), percent(case["early"]),
             percent(case["class_right"]), percent(case["isolation_top1"]), percent(case["abstained"]),
             number(case["size_error"]), percent(case["interval_right"])) for case in result["cases"]]
    return Table(("damage", "runs", "median frames", "p95", "median ms", "p95 ms", "missed", "too early", "class right",
                  "part right", "undecided", "size error", "true size in interval"), tuple(rows))


def nuisances(result: Json) -> Table:
    """Return every nuisance in a line."""
    rows = [(n["name"], str(n["n"]), str(n["body_alarms"]), str(n["alarms"]), str(n["named"]),
             "yes" if n["must_alarm"] else "may", frames(n["median_frames"]) if n["must_alarm"] else NONE,
             str(n["early"]))
            for n in result["nuisances"]]
    return Table(("nuisance", "runs", "called body damage", "alarms", "named right", "must alarm", "median frames",
                  "too early"), tuple(rows))


def versus(result: Json) -> Table:
    """Return the verified detector and the baselines on the streams that all of them watched."""
    own = result["versus"]["on_shared"]
    named = [*([(result["subject"], own)] if own else []), *result["baselines"].items()]
    rows = [(name, str(row["healthy_alarms"]), number(row["rate_per_hour"], 3), number(row["rate_bound_per_hour"], 3),
             frames(row["median_frames"]), frames(row["p95_frames"]), percent(row["missed"]), percent(row["early"]),
             f"{row['nuisance_body_alarms']} / {row['nuisance_runs']}", number(row["threshold"], 4))
            for name, row in named]
    return Table(("detector", "false alarms", "an hour", "95% bound", "median frames", "p95", "missed", "too early",
                  "nuisances called damage", "threshold"), tuple(rows))


def kinds(result: Json) -> Table:
    """Return the median delay of every detector by kind of damage, on the same streams."""
    own = result["versus"]["on_shared"]
    named = [*([(result["subject"], own)] if own else []), *result["baselines"].items()]
    names = list(dict.fromkeys(kind for _, row in named for kind in row["median_frames_by_kind"]))
    return Table(("median frames", *names), tuple(
        (name, *(frames(row["median_frames_by_kind"].get(kind)) for kind in names)) for name, row in named))


def healthy(result: Json) -> str:
    """Return in a sentence what happened on healthy streams."""
    h = result["healthy"]
    classes = ", ".join(f"{n} {kind}" for kind, n in h["by_class"].items())
    many = f"{h['alarms']} false alarm{'' if h['alarms'] == 1 else 's'}" if h["alarms"] else "no false alarm"
    text = f"{many} in {h['hours']:.3g} h of healthy motion ({h['frames']:,} frames)"
    if h["alarms"]:
        text += f": {classes}; one every {h['arl0_frames']:,} frames"
    return f"{text}; with 95% confidence fewer than {number(h['rate_bound_per_hour'], 3)} an hour"


def _rate(result: Json) -> str:
    """The rate of false alarms that the baselines are set to."""
    rate = result["settings"]["false_alarms_per_hour"]
    return f"{rate:g} false alarm{'' if rate == 1 else 's'} an hour"


def ratio(result: Json) -> str:
    """Return in a sentence how the best baseline compares."""
    versus, own = result["versus"], result["versus"]["on_shared"]
    if not result["baselines"] or own is None:
        return "no baseline was run"
    if not versus["kept"]:
        return f"no ratio of delays: {result['subject']} does not keep to {_rate(result)}"
    if versus["best"] is None:
        return f"no ratio of delays: no baseline keeps to {_rate(result)}"
    best = result["baselines"][versus["best"]]["median_frames"]
    return (f"median delay over all damages on the same {own['n']} runs: {result['subject']} {own['median_frames']:g} "
            f"frames, the best baseline, {versus['best']}, {best:g}: {versus['ratio']:.2f} times as long")


def exec_us(result: Json) -> str:
    """Return in a sentence how long a frame takes."""
    us = result["exec_us"]
    if us is None:
        return "its time was not told"
    rare = "" if us["p99_9"] is None else f", p99.9 {us['p99_9']:,.0f}"
    return (f"{result['subject']} takes p50 {us['p50']:,.0f}, p99 {us['p99']:,.0f}{rare}, at most {us['max']:,.0f} us "
            f"of a processor a frame ({us['n']:,} frames, as many processes as cores)")


def about(result: Json) -> list[str]:
    """Return what was done, in sentences."""
    s, robot, machine = result["settings"], result["robot"], result["machine"]
    virtual = ", virtual" if machine["virtual"] else ""
    return [
        f"Robot {robot['name']}: {len(robot['joints'])} joints, {robot['views']} camera(s) of {robot['width']}x"
        f"{robot['height']} px at {s['camera_hz']:g} Hz; encoders and outlines are noisy in every frame. Every stream "
        "is a trajectory of its own; a stream ends with the detector's alarm.",
        f"A damage begins after {s['onset_s'][0]:g} to {s['onset_s'][1]:g} s and is watched for {s['after_s']:g} s; "
        f"{s['runs']} runs each. Delays count fresh frames, 1 for the first that shows it; missed runs count as those "
        f"{s['after_s']:g} s. Alarms before the onset are too early: neither found nor missed. Class, part and size "
        f"are read {s['refine_frames']} frames after the alarm, where the detector says more by then; part: the joint "
        "or the link behind it. Shares of right ones are of the alarms.",
        f"Baselines watch one stream in {s['baseline_every']}; what is compared is compared on these. Their thresholds "
        f"are set to {_rate(result)} on {s['calibration_streams']} other healthy streams of {s['stream_s']:g} s: a "
        "Gumbel distribution fitted to the largest value of each, never below the largest.",
        f"Recorded on {machine['cpu']}, {machine['cores']} cores{virtual}, Linux {machine['kernel']}; bundle "
        f"{result['bundle']}, revision {', '.join(result['revisions'])}, seed {result['seed']}.",
    ]
