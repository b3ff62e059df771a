# SPDX-License-Identifier: Apache-2.0
"""Draws results as SVG: the ratios with their bars, and the speeds."""

import dataclasses
import math
from xml.sax.saxutils import escape

from report import SceneResult, Verdict, title

WIDTH, LABELS, PLOT, LINE = 1060, 520, 430, 22
OURS, OTHERS, BELOW, MARK, GRID = "#1f6f8b", "#b8b8b8", "#c0392b", "#111111", "#e4e4e4"


@dataclasses.dataclass(frozen=True)
class Bar:
    label: str
    value: float
    color: str
    told: str
    mark: float | None = None


@dataclasses.dataclass(frozen=True)
class Group:
    heading: str
    bars: list[Bar]


@dataclasses.dataclass(frozen=True)
class Scale:
    low: float
    high: float
    logarithmic: bool

    def x(self, value: float) -> float:
        """From the left edge of the plot."""
        if self.logarithmic:
            low, high = math.log10(self.low), math.log10(self.high)
            return PLOT * (math.log10(max(value, self.low)) - low) / (high - low)
        return PLOT * (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round numbers: 1, 2 or 5 and zeros, or multiples of one of them."""
        decades = range(math.floor(math.log10(self.high)) - 4, math.ceil(math.log10(self.high)) + 1)
        round_numbers = [factor * 10.0**decade for decade in decades for factor in (1, 2, 5)]
        if self.logarithmic:
            return [number for number in round_numbers if self.low <= number <= self.high]
        step = next(number for number in round_numbers if number * 6 > self.high)
        return [step * count for count in range(7) if step * count <= self.high]


def text(x: float, y: float, content: str, extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {extra}>{escape(content)}</text>'


def rectangle(x: float, y: float, width: float, height: float, color: str) -> str:
    size = f'width="{max(width, 0.5):.1f}" height="{height}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size} fill="{color}"/>'


def line(x: float, top: float, bottom: float, color: str, width: float) -> str:
    ends = f'x1="{x:.1f}" y1="{top:.1f}" x2="{x:.1f}" y2="{bottom:.1f}"'
    return f'<line {ends} stroke="{color}" stroke-width="{width}"/>'


def draw_bar(bar: Bar, y: float, scale: Scale, origin: float) -> list[str]:
    start, end = sorted((LABELS + scale.x(origin), LABELS + scale.x(bar.value)))
    parts = [
        text(LABELS - 8, y + 14, bar.label, 'text-anchor="end"'),
        rectangle(start, y + 3, end - start, LINE - 8, bar.color),
    ]
    if bar.mark is not None:
        parts.append(line(LABELS + scale.x(bar.mark), y, y + LINE - 2, MARK, 2))
        end = max(end, LABELS + scale.x(bar.mark))
    return [*parts, text(end + 6, y + 14, bar.told)]


def draw_grid(scale: Scale, unit: str, top: float, bottom: float) -> list[str]:
    parts = []
    for tick in scale.ticks():
        x = LABELS + scale.x(tick)
        parts.append(line(x, top - 4, bottom, GRID, 1))
        parts.append(text(x, top - 8, f"{tick:.3g}{unit}", 'text-anchor="middle" fill="#666"'))
    return parts


def draw_group(group: Group, y: float, scale: Scale, origin: float) -> list[str]:
    parts = [text(16, y + 14, group.heading, 'font-style="italic"')] if group.heading else []
    first = y + LINE * len(parts)
    for index, bar in enumerate(group.bars):
        parts += draw_bar(bar, first + LINE * index, scale, origin)
    return parts


def panel(
    heading: str, groups: list[Group], scale: Scale, unit: str, top: float, origin: float
) -> tuple[list[str], float]:
    """The parts, and where the panel ends."""
    parts = [text(16, top + 16, heading, 'font-weight="bold" font-size="15"')]
    drawn: list[str] = []
    first = y = top + 44
    for group in groups:
        drawn += draw_group(group, y, scale, origin)
        y += LINE * (len(group.bars) + (1 if group.heading else 0))
    return [*parts, *draw_grid(scale, unit, first, y), *drawn], y + 24


def ratio_bar(verdict: Verdict, ratio: float) -> Bar:
    label = f"{verdict.what}, against {verdict.other}"
    color = BELOW if verdict.met is False else OURS
    return Bar(label, ratio, color, f"{ratio:.2f}x", verdict.at_least)


def ratio_groups(results: list[SceneResult]) -> list[Group]:
    groups = []
    for result in results:
        measured = [(verdict, verdict.ratio) for verdict in result.verdicts]
        bars = [ratio_bar(verdict, ratio) for verdict, ratio in measured if ratio is not None]
        if bars:
            groups.append(Group(title(result), bars))
    return groups


def ratio_scale(groups: list[Group]) -> Scale:
    bars = [bar for group in groups for bar in group.bars]
    values = [bar.value for bar in bars] + [bar.mark for bar in bars if bar.mark is not None]
    return Scale(min(0.5, *values) * 0.9, max(2.0, *values) * 1.1, logarithmic=True)


def speed_bars(result: SceneResult) -> list[Bar]:
    bars = []
    for series in result.series.values():
        if series.seconds:
            speed = result.bytes / series.median / 1e9
            color = OURS if series.ours else OTHERS
            bars.append(Bar(series.what, speed, color, f"{speed:.3g} GB/s"))
    return sorted(bars, key=lambda bar: -bar.value)


def draw(results: list[SceneResult]) -> str:
    parts: list[str] = []
    y = 12.0
    ratios = ratio_groups(results)
    if ratios:
        heading = "How many times as fast Hallmark is (black: what it must reach)"
        drawn, y = panel(heading, ratios, ratio_scale(ratios), "x", y, 1)
        parts += drawn
    for result in results:
        speeds = speed_bars(result)
        if speeds and result.name != "tiny":
            scale = Scale(0, speeds[0].value, logarithmic=False)
            drawn, y = panel(title(result), [Group("", speeds)], scale, " GB/s", y, 0)
            parts += drawn
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:.0f}"'
    head += ' font-family="sans-serif" font-size="12">'
    return "\n".join([head, rectangle(0, 0, WIDTH, round(y), "#ffffff"), *parts, "</svg>"]) + "\n"
