"""How values look on a page: numbers with separators, money with a currency, times with a zone."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import yaml
from markupsafe import Markup, escape

from cdp.settings import PROJECT_DIR

NOTHING = "\u2013"
STEPS = ((86_400 * 2, 86_400, "d"), (3_600 * 2, 3_600, "h"), (60 * 2, 60, "min"))


def number(value: Any) -> str:
    """A count or amount: `2,363`, `19.9`."""
    if value is None:
        return NOTHING
    if isinstance(value, float | Decimal) and value == int(value):
        value = int(value)
    return f"{value:,}"


def money(value: Any) -> str:
    """An amount in the currency of the house: `1,320.00 USD`."""
    return NOTHING if value is None else f"{Decimal(str(value)):,.2f} {house_currency()}"


def percent(share: float) -> str:
    """A share between 0 and 1: `4.6 %`."""
    return f"{share * 100:,.1f} %"


def milliseconds(value: Any) -> str:
    """A duration: `3.2 ms`, `140 ms`."""
    taken = float(value)
    return f"{taken:,.1f} ms" if taken < 10 else f"{taken:,.0f} ms"


def duration(seconds: Any) -> str:
    """A duration by its greatest useful unit: `12 s`, `5 min`, `3 h`, `9 d`."""
    whole = int(seconds)
    for least, size, unit in STEPS:
        if whole >= least:
            return f"{whole // size:,} {unit}"
    return f"{whole} s"


def instant(value: Any) -> Markup:
    """A time as an element that the page shows in the reader's zone, in UTC until then."""
    if value is None:
        return escape(NOTHING)
    at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    at = at.astimezone(UTC)
    return Markup('<time datetime="{}" title="{} UTC">{} UTC</time>').format(
        at.isoformat(), f"{at:%Y-%m-%d %H:%M:%S}", f"{at:%Y-%m-%d %H:%M}"
    )


def pretty(value: Any) -> str:
    """JSON over several lines; a text that is JSON is taken apart first."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def plain(value: Any) -> str:
    """A value of JSON in one line: texts as they are, everything else as JSON."""
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def coded(text: str) -> Markup:
    """A message whose `commands` stand in back ticks."""
    parts = str(text).split("`")
    marked = [Markup("<code>{}</code>").format(part) for part in parts[1::2]]
    plain_parts = [escape(part) for part in parts[::2]]
    between = zip(plain_parts, [*marked, Markup("")], strict=False)
    return Markup("").join(piece for pair in between for piece in pair)


def breakable(path: str) -> Markup:
    """A path that may be broken after its slashes."""
    return Markup("/<wbr>").join(escape(part) for part in path.split("/"))


@cache
def house_currency() -> str:
    """The currency that money is kept in, as dbt_project.yml names it."""
    project = yaml.safe_load((PROJECT_DIR / "dbt_project" / "dbt_project.yml").read_text())
    return str(project["vars"]["currency"])


FILTERS = {
    "number": number,
    "money": money,
    "percent": percent,
    "milliseconds": milliseconds,
    "duration": duration,
    "instant": instant,
    "pretty": pretty,
    "plain": plain,
    "coded": coded,
    "breakable": breakable,
}
