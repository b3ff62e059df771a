# SPDX-License-Identifier: Apache-2.0
"""From single runs to medians, ratios and tables."""

import dataclasses
import statistics

from measure import Run
from scenes import Ceiling, Contender, Row, Scene


@dataclasses.dataclass
class Series:
    """All runs of one contender."""

    key: str
    what: str
    ours: bool
    seconds: list[float] = dataclasses.field(default_factory=list)
    cpu_seconds: list[float] = dataclasses.field(default_factory=list)
    peak_kib: list[int] = dataclasses.field(default_factory=list)
    skipped: str | None = None  # why it did not run

    def add(self, run: Run, contender: Contender) -> None:
        own = contender.seconds
        self.seconds.append(own(run.output) if own else run.seconds)
        self.cpu_seconds.append(run.cpu_seconds)
        self.peak_kib.append(run.peak_kib)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def peak_mib(self) -> float:
        return max(self.peak_kib) / 1024


@dataclasses.dataclass
class Verdict:
    """A row of the table, or a ceiling."""

    scene: str
    what: str
    other: str
    hallmark: str
    against: str
    ratio: float | None
    bar: str
    at_least: float | None
    met: bool | None
    skipped: str | None = None


@dataclasses.dataclass
class SceneResult:
    name: str
    model: str
    cold: bool
    bytes: int
    series: dict[str, Series]
    verdicts: list[Verdict]


def time_text(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def title(result: SceneResult) -> str:
    state = "cold" if result.cold else "cached"
    return f"{result.model}, {state}" + (", forced" if result.name.startswith("kernels") else "")


def judge_row(scene: Scene, row: Row, series: dict[str, Series]) -> Verdict:
    ours, other = series[row.ours], series[row.other]
    bar = f"{row.at_least:g}x" if row.at_least is not None else "-"
    verdict = Verdict(
        scene.name,
        row.what,
        other.what,
        "-",
        "-",
        None,
        bar,
        row.at_least,
        None,
        ours.skipped or other.skipped,
    )
    if verdict.skipped is None:
        verdict.hallmark, verdict.against = time_text(ours.median), time_text(other.median)
        verdict.ratio = other.median / ours.median
        if row.at_least is not None:
            verdict.met = verdict.ratio >= row.at_least
    return verdict


def scene_result(scene: Scene, series: dict[str, Series]) -> SceneResult:
    return SceneResult(
        scene.name,
        scene.model.describe(),
        scene.cold,
        scene.model.bytes,
        series,
        [judge_row(scene, row, series) for row in scene.rows],
    )


def judge_ceiling(ceiling: Ceiling, results: list[SceneResult]) -> Verdict | None:
    ran = [
        series
        for result in results
        if result.name in ceiling.scenes
        for series in result.series.values()
        if series.ours and series.seconds
    ]
    if not ran:
        return None
    if ceiling.measure == "ms":
        value = max(series.median for series in ran) * 1000
    else:
        value = max(series.peak_mib for series in ran)
    return Verdict(
        "",
        ceiling.what,
        "-",
        f"{value:.3g} {ceiling.measure}",
        "-",
        None,
        f"under {ceiling.under:g} {ceiling.measure}",
        None,
        value < ceiling.under,
    )


def yes_no(met: bool | None) -> str:
    return {True: "yes", False: "**no**", None: "-"}[met]


def verdict_line(where: str, verdict: Verdict) -> str:
    ratio = f"{verdict.ratio:.2f}x" if verdict.ratio is not None else verdict.skipped or "-"
    cells = [where, verdict.what, verdict.hallmark, verdict.other, verdict.against, ratio]
    return "| " + " | ".join([*cells, verdict.bar, yes_no(verdict.met)]) + " |"


def bars_table(results: list[SceneResult], ceilings: list[Verdict]) -> list[str]:
    lines = [
        "| model | what | Hallmark | the other | its median | ratio | at least | met |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: | --- |",
    ]
    for result in results:
        lines += [verdict_line(title(result), verdict) for verdict in result.verdicts]
    return lines + [verdict_line("-", verdict) for verdict in ceilings]


def series_line(result: SceneResult, series: Series) -> str:
    if series.skipped is not None or not series.seconds:
        return f"| {series.what} | {series.skipped or 'not run'} | - | - | - | - | - |"
    speed = result.bytes / series.median / 1e6
    cells = [
        series.what,
        *map(time_text, (series.median, min(series.seconds), max(series.seconds))),
        f"{speed:,.0f} MB/s",
        time_text(statistics.median(series.cpu_seconds)),
        f"{series.peak_mib:.1f} MiB",
    ]
    return "| " + " | ".join(cells) + " |"


def scene_table(result: SceneResult) -> list[str]:
    lines = [
        f"### {result.name}: {title(result)}",
        "",
        "| what | median | least | most | speed | processor time | peak memory |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    return [*lines, *(series_line(result, series) for series in result.series.values()), ""]


def markdown(
    environment: dict[str, str], remark: str, results: list[SceneResult], ceilings: list[Verdict]
) -> str:
    lines = ["# Benchmark results", "", remark, "", "![ratios and speeds](results.svg)", ""]
    lines += ["## Ratios", ""]
    lines += ["A ratio is the other's median time divided by Hallmark's.", ""]
    lines += [*bars_table(results, ceilings), "", "## Every contender", ""]
    for result in results:
        lines += scene_table(result)
    lines += ["## The machine", "", "| | |", "| --- | --- |"]
    lines += [f"| {name} | {value} |" for name, value in environment.items()]
    return "\n".join(lines) + "\n"


def as_json(
    environment: dict[str, str], remark: str, results: list[SceneResult], ceilings: list[Verdict]
) -> dict[str, object]:
    return {
        "remark": remark,
        "environment": environment,
        "scenes": [dataclasses.asdict(result) for result in results],
        "ceilings": [dataclasses.asdict(verdict) for verdict in ceilings],
    }


def summary(results: list[SceneResult], ceilings: list[Verdict]) -> str:
    verdicts = [verdict for result in results for verdict in result.verdicts] + ceilings
    with_bar = [verdict for verdict in verdicts if verdict.bar != "-"]
    met = sum(verdict.met is True for verdict in with_bar)
    skipped = sum(verdict.met is None for verdict in with_bar)
    return f"{met} of {len(with_bar)} bars met, {skipped} not measured"


def terminal_lines(result: SceneResult) -> list[str]:
    lines = []
    for series in result.series.values():
        told = time_text(series.median) if series.seconds else f"skipped: {series.skipped}"
        lines.append(f"    {series.what:52} {told:>10}")
    for verdict in result.verdicts:
        if verdict.ratio is not None:
            bar = f"(at least {verdict.bar})" if verdict.at_least is not None else ""
            lines.append(f"    {verdict.ratio:7.2f}x  {verdict.what}: {verdict.other} {bar}")
    return lines
