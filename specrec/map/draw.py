"""The map as a picture: a dot a track, a colour a cluster, its name where most of it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from specrec.errors import SpecrecError
from specrec.terminal import plain

#: Okabe & Ito's colours, which those who see few colours can tell apart, and darker ones of them.
_COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A800", "#555555",
    "#003F63", "#8A5F00", "#005C43", "#7D3F63",
)  # fmt: skip
_NO_COLOUR = "#BBBBBB"
_INCHES = (11.0, 7.5)
_DPI = 160
#: So many points are drawn at most: more of them would only hide each other.
MOST_POINTS = 50_000


def draw(points: pd.DataFrame, title: str, path: Path, labels: tuple[str, str]) -> None:
    """Draw a map and write it as PNG.

    Parameters
    ----------
    points : DataFrame
        Columns ``x``, ``y``, ``cluster`` and ``cluster_name``, a row a track, no value null.
    labels : tuple of str
        Names of the two axes.

    Raises
    ------
    SpecrecError
        If matplotlib is not there, or the file cannot be written.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import pandas as pd
    >>> points = pd.DataFrame({"x": [0.0, 1.0], "y": [0.0, 1.0], "cluster": 0, "cluster_name": "calm"})
    >>> with TemporaryDirectory() as folder:
    ...     draw(points, "Two tracks", Path(folder, "map.png"), labels=("UMAP 1", "UMAP 2"))
    ...     [path.name for path in Path(folder).iterdir()]
    ['map.png']
    """
    try:
        from matplotlib.collections import PathCollection  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415 (an extra, and a second to import)
    except ImportError:
        raise SpecrecError("drawing needs matplotlib: pip install 'specrec[plot]'") from None
    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    size = float(np.clip(20_000 / len(points), 1.5, 36))
    named = []
    for (number, named_so), of in points.groupby(["cluster", "cluster_name"]):
        colour = _COLOURS[number % len(_COLOURS)] if number >= 0 else _NO_COLOUR
        name = _drawn(named_so)
        words = f"{name} ({len(of) / len(points):.0%})"
        axes.scatter(of["x"], of["y"], s=size, color=colour, alpha=0.75, linewidths=0, label=words)
        named.append((float(of["x"].median()), float(of["y"].median()), name, colour))
    axes.set_title(_drawn(title), loc="left", fontsize=13)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_color("#DDDDDD")
    legend = axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, title="Share of the tracks")
    for mark in legend.legend_handles:
        if isinstance(mark, PathCollection):
            mark.set_sizes([60.0])
            mark.set_alpha(1.0)
    _name(figure, axes, named)
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise SpecrecError(f"cannot write {path}: {error.strerror or error}") from None


def _drawn(text: str) -> str:
    """Return a text as matplotlib draws it, and takes none of it for a formula."""
    return plain(text).replace("$", r"\$")


def _name(figure: Any, axes: Any, named: list[tuple[float, float, str, str]]) -> None:
    """Write the names where their clusters lie, moved apart vertically where they would cover each other."""
    box_of = {"boxstyle": "round,pad=0.25", "facecolor": "white", "alpha": 0.85}
    texts = [
        axes.text(x, y, name, fontsize=10, ha="center", va="center", bbox={**box_of, "edgecolor": colour})
        for x, y, name, colour in sorted(named, key=lambda of: (of[1], of[0]))
    ]
    figure.draw_without_rendering()  # settles the layout, so that sizes are known
    to_data = axes.transData.inverted()
    placed: list[Any] = []
    for text in texts:  # from the lowest up, each is put above those that it would cover
        box = text.get_bbox_patch().get_window_extent().padded(2)
        for other in sorted(placed, key=lambda of: of.y0):
            if box.overlaps(other):
                box = box.translated(0, other.y1 - box.y0 + 1)
        placed.append(box)
        text.set_position(to_data.transform(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)))
