"""A horizontal or vertical scale of a drawing: where a value stands, and the ticks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cje.results.rows import DifferenceRow, EstimateRow
from cje.results.words import tick

STEPS = (1, 2, 5, 10)
WIDTH, MARGIN = 340, 12  # of a drawing in a table


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` on the coordinates from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The coordinate of a value; one beyond the scale stands at its end."""
        share = (value - self.low) / (self.high - self.low)
        place = self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)
        return round(float(place), 1)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Coordinate and label of three to six round values."""
        rough = (self.high - self.low) / 5
        power = 10.0 ** np.floor(np.log10(rough))
        step = next(power * s for s in STEPS if power * s >= rough * 0.999)
        first = int(np.ceil(self.low / step - 1e-9))
        last = int(np.floor(self.high / step + 1e-9))
        digits = max(0, -int(np.floor(np.log10(step) + 1e-9)))
        return [(self.at(k * step), tick(k * step, digits)) for k in range(first, last + 1)]


def axis_over(values: Iterable[float | None], start: float, end: float) -> Axis:
    """The scale that holds the known ones of the values, with a margin; 0 to 1 without any."""
    known = np.array([v for v in values if v is not None and np.isfinite(v)], dtype=float)
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    margin = 0.06 * (high - low) if high > low else 0.05
    return Axis(float(low - margin), float(high + margin), start, end)


def estimates_axis(rows: Sequence[EstimateRow]) -> Axis:
    """The scale of the drawings of the ranking: estimates, calibrated judge and truth."""
    values: list[float | None] = []
    for row in rows:
        values += [row.v_hat, row.ci_low, row.ci_high, row.calibrated_judge]
        if row.truth is not None:
            values += [row.truth.oracle_truth, row.truth.ci_low, row.truth.ci_high]
    return axis_over(values, MARGIN, WIDTH - MARGIN)


def differences_axis(rows: Sequence[DifferenceRow]) -> Axis:
    """The scale of the drawings of the differences from the base, with 0 on it."""
    ends = [end for row in rows for end in (row.difference, row.ci_low, row.ci_high)]
    return axis_over([*ends, 0.0], MARGIN, WIDTH - MARGIN)
