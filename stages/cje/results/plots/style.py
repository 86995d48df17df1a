"""What all figures share: the look and the frame."""

import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike, NDArray

from cje.errors import writing
from cje.results.theme import AMBER, BLUE, FRAME, GREY, GRID, HATCH, INK, PAPER, QUIET
from cje.vocabulary import Verdict

Keywords = dict[str, Any]  # of a function of matplotlib's
STYLE: dict[Any, Any] = {
    "font.size": 12,
    "text.parse_math": False,  # a "$" in a policy's name is a character, not mathematics
    "text.color": INK,
    "axes.edgecolor": FRAME,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "hatch.color": HATCH,
    "hatch.linewidth": 0.8,
    "legend.frameon": False,
    "xtick.color": FRAME,
    "xtick.labelcolor": INK,
    "ytick.color": FRAME,
    "ytick.labelcolor": INK,
}
# Letters that the first lacks are taken from the others, as far as they are installed.
FONTS = (
    "DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans SC",
    "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback",
    "IPAGothic", "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Microsoft YaHei",
    "Yu Gothic", "Malgun Gothic", "Arial Unicode MS", "Noto Sans Arabic", "Noto Sans Devanagari",
    "Noto Emoji",
)  # fmt: skip
MISSING_LETTER = re.compile(r"Glyph (\d+) .*missing from")  # matplotlib's warning
LETTERS_TOLD: set[str] = set()
WEIGHTS = (400, 700)  # normal and bold
IN_ROW: Keywords = {"va": "center_baseline", "linespacing": 0.95}  # words that stand on one line
WIDTH, HEIGHT, DPI = 10.0, 6.25, 160  # inches, inches, pixels per inch

VERDICT_MARKS: dict[Verdict, Keywords] = {
    Verdict.RELIABLE: {"color": BLUE, "marker": "o", "markerfacecolor": BLUE},
    Verdict.CAUTION: {"color": AMBER, "marker": "o", "markerfacecolor": PAPER},
    Verdict.REFUSE: {"color": GREY, "marker": "x", "markerfacecolor": GREY},
}
P_LEVELS = (0.001, 0.01, 0.05)
MAX_POINTS, CURVE_POINTS = 2000, 50


@contextmanager
def drawing(path: str | os.PathLike[str], title: str, subtitle: str) -> Iterator[Figure]:
    """A titled figure under the style, written to `path` at the end."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's matplotlibrc must not change the bytes
        matplotlib.rcParams.update(STYLE | {"font.family": installed_fonts()})
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor=PAPER)
        FigureCanvasAgg(figure)
        figure.set_layout_engine("constrained", rect=(0.012, 0.012, 0.976, 0.848), hspace=0.04)
        size = min(18.0, 1150 / max(len(title), 1))
        figure.text(0.02, 0.965, title, fontsize=size, fontweight="bold", va="top")
        figure.text(0.02, 0.905, subtitle, fontsize=12, color=QUIET, va="top")
        yield figure
        with _letters_told(), writing(path):
            _settle(figure)
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, format="png", dpi=DPI, metadata={"Software": None})


@contextmanager
def _letters_told() -> Iterator[None]:
    """Say once a process which letters no font here has, in place of matplotlib's warning for each
    of them at every drawing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    found = [MISSING_LETTER.match(str(warning.message)) for warning in caught]
    letters = dict.fromkeys(chr(int(match[1])) for match in found if match)
    if new := "".join(letter for letter in letters if letter not in LETTERS_TOLD):
        LETTERS_TOLD.update(new)
        print(
            f"note: no font here has {new}: the figures show boxes; install one that does, such "
            "as the packages fonts-noto-cjk and fonts-noto-core, and run this stage again",
            file=sys.stderr,
        )
    for match, warning in zip(found, caught, strict=True):
        if match is None:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def _settle(figure: Figure) -> None:
    """Lay the figure out for good. The solver of the layout goes through its terms in the order of
    their addresses in memory, so that its last digits differ from run to run."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        bounds = axes.get_position(original=True).bounds
        axes.set_position(Bbox.from_bounds(*(round(float(value), 6) for value in bounds)))


@cache
def installed_fonts() -> list[str]:
    """Those of `FONTS` that are here; DejaVu Sans comes with matplotlib."""
    here = set(font_manager.get_font_names())
    names = [name for name in FONTS if name in here]
    for name in names:
        _fill_weights(name)
    return names


def _fill_weights(family: str) -> None:
    """Enter the nearest font of the family for a weight that it lacks: matplotlib takes that one
    anyway, and warns, at every drawing, whether or not a letter of it is drawn."""
    fonts = font_manager.fontManager.ttflist
    upright_last = sorted(
        (font for font in fonts if font.name == family), key=lambda font: font.style == "normal"
    )
    own = {_weight(font): font for font in upright_last}
    for weight in WEIGHTS:
        if weight not in own:
            nearest = min(own, key=lambda other: abs(other - weight))
            fonts.append(replace(own[nearest], weight=weight))


def _weight(font: font_manager.FontEntry) -> int:
    weight = font.weight
    return font_manager.weight_dict.get(weight, 400) if isinstance(weight, str) else weight


def message(figure: Figure, text: str) -> None:
    figure.text(0.5, 0.45, text, ha="center", va="center", fontsize=16, color=QUIET)


def finite(values: np.ndarray) -> np.ndarray:
    known: NDArray[np.float64] = np.asarray(values, dtype=float)
    return known[np.isfinite(known)]


def finite_pairs(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    keep = np.isfinite(x) & np.isfinite(y)
    return x[keep], y[keep]


def rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """Floats to six significant digits."""
    floats = frame.select_dtypes("float").columns
    exact = {name: [float(f"{value:.6g}") for value in frame[name]] for name in floats}
    return frame.assign(**exact).reset_index(drop=True)


def wrap(name: str, width: int, lines: int = 2) -> str:
    """The name on at most `lines` lines of `width`, cut in its middle where that is too little."""
    if len(name) > width * lines:
        keep = (width * lines - 1) // 2
        name = name[:keep] + "\N{HORIZONTAL ELLIPSIS}" + name[-keep:]
    parts: list[str] = []
    while len(name) > width:
        cut = max(name.rfind(mark, 0, width) for mark in "-_/. ") + 1
        left = width * (lines - len(parts) - 1)
        cut = cut if cut and len(name) - cut <= left else width
        parts.append(name[:cut])
        name = name[cut:]
    return "\n".join([*parts, name])


def row_font(rows: float, biggest: float = 13.0) -> float:
    return float(np.clip(150 / max(rows, 1), 9.0, biggest))


def policy_ticks(
    axes: Axes, names: Sequence[str], size: float, *, width: int = 26, offset: float = 0.0
) -> None:
    labels = [wrap(name, width) for name in names]
    axes.set_yticks(np.arange(len(names)) + offset, labels, fontsize=size, **IN_ROW)


def ridge(
    axes: Axes,
    place: float,
    values: np.ndarray,
    edges: np.ndarray,
    colour: str,
    like: np.ndarray | None = None,
) -> None:
    """A histogram that stands on row `place`, as high as the tallest bin of `like`."""
    tallest = np.histogram(values if like is None else like, edges)[0].max()
    heights = np.histogram(values, edges)[0] / max(tallest, 1)
    base = place + 0.36
    axes.stairs(base - 0.8 * heights, edges, baseline=base, fill=True, color=colour, linewidth=0)


def interval_mark(
    axes: Axes,
    place: float,
    centre: float,
    low: float | None,
    high: float | None,
    style: Keywords,
    size: float,
    width: float,
) -> None:
    """A mark on its interval; arrow heads where either runs off the chart."""
    left, right = axes.get_xlim()
    colour = style["color"]
    if low is not None and high is not None:
        axes.hlines(place, max(low, left), min(high, right), color=colour, linewidth=width)
    ends = [value for value in (centre, low, high) if value is not None]
    for beyond, edge, head in ((min(ends) < left, left, "<"), (max(ends) > right, right, ">")):
        if beyond:
            axes.plot(edge, place, head, color=colour, markersize=0.9 * size, clip_on=False)
    if left <= centre <= right:
        axes.plot(centre, place, markersize=size, markeredgewidth=2, zorder=3, **style)


def reach(values: ArrayLike, *also: float) -> tuple[float, float]:
    """The ends of an axis that shows the finite values, with a margin; 0 to 1 without any."""
    known = np.concatenate([finite(np.ravel(values)), also])
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    pad = 0.04 * (high - low) if high > low else 0.05
    return float(low - pad), float(high + pad)
