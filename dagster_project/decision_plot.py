"""The results of decisions as a picture and a table, for the metadata of an asset."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, LEFT, ROW, TOP = 640, 150, 44, 30
ARMS = (("treated", "#2f6fde"), ("held_out", "#8a8f98"))
Result = Mapping[str, Any]


def results_table(results: Sequence[Result]) -> str:
    """Markdown: one line per rule, with the lift and its interval."""
    lines = [
        "| rule | treated | held out | conversion lift | revenue lift per profile |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in results:
        arms = " | ".join(
            f"{row[f'{arm}_conversion_count']} of {row[f'{arm}_count']}" for arm, _color in ARMS
        )
        lift = _interval(row, "conversion_lift", "", 100, "%")
        revenue = _interval(row, "revenue_lift", "_usd", 1, " USD")
        lines.append(f"| {row['rule_key']} | {arms} | {lift} | {revenue} |")
    return "\n".join(lines)


def results_plot(results: Sequence[Result]) -> str:
    """Markdown with a picture: conversion per rule and arm, each with its confidence interval."""
    height = TOP + ROW * max(len(results), 1) + 10
    marks = [
        f'<text x="{LEFT}" y="16">share with an order in the window, 95% interval</text>',
        *(
            mark
            for number, row in enumerate(results)
            for mark in _rule_marks(row, TOP + number * ROW)
        ),
    ]
    picture = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        ' font-family="sans-serif" font-size="12">'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>{"".join(marks)}</svg>'
    )
    encoded = base64.b64encode(picture.encode()).decode()
    return f"![conversion by rule](data:image/svg+xml;base64,{encoded})"


def _rule_marks(row: Result, top: int) -> list[str]:
    name = str(row["rule_key"]).replace("&", "&amp;").replace("<", "&lt;")
    marks = [f'<text x="8" y="{top + 22}">{name}</text>']
    for place, (arm, color) in enumerate(ARMS):
        rate = row[f"{arm}_conversion_rate"]
        if rate is None:
            continue
        middle = top + 12 + place * 16
        low, high = (_across(row[f"{arm}_conversion_rate_{side}"]) for side in ("low", "high"))
        marks += [
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke="{color}"/>',
            f'<circle cx="{_across(rate):.1f}" cy="{middle}" r="4" fill="{color}"/>',
            f'<text x="{high + 8:.1f}" y="{middle + 4}" fill="{color}">'
            f"{arm.replace('_', ' ')} {rate:.1%} of {row[f'{arm}_count']}</text>",
        ]
    return marks


def _across(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - 150)


def _interval(row: Result, name: str, unit: str, factor: float, sign: str) -> str:
    middle, low, high = (row[f"{name}{part}{unit}"] for part in ("", "_low", "_high"))
    if middle is None:
        return "no holdout"
    text = f"{middle * factor:+.1f}{sign}"
    return text if low is None else f"{text} ({low * factor:+.1f} to {high * factor:+.1f})"
