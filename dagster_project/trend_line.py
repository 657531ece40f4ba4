"""A small line as a picture, for the metadata of an asset."""

import base64
from collections.abc import Sequence

WIDTH, HEIGHT, MARGIN = 240, 50, 4


def trend_line(values: Sequence[float], words: str) -> str:
    """Markdown of a line through the values, at least one, as high as they differ, and of words."""
    least, greatest = min(values), max(values)
    across = WIDTH / max(len(values) - 1, 1)
    up = (HEIGHT - 2 * MARGIN) / max(greatest - least, 1)
    points = " ".join(
        f"{number * across:.1f},{HEIGHT - MARGIN - (value - least) * up:.1f}"
        for number, value in enumerate(values)
    )
    line = f'<polyline fill="none" stroke="#4f43dd" stroke-width="2" points="{points}"/>'
    picture = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}">{line}</svg>'
    )
    encoded = base64.b64encode(picture.encode()).decode()
    return f"![{words}](data:image/svg+xml;base64,{encoded})\n\n{words}"
