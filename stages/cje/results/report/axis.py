"""A horizontal or vertical scale of a drawing: where a value stands, and the ticks."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cje.results.words import number

STEPS = (1, 2, 5, 10)


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
        return [
            (self.at(k * step), number(k * step, f".{digits}f")) for k in range(first, last + 1)
        ]


def axis_over(values: Iterable[float], start: float, end: float) -> Axis:
    """The scale that holds the finite ones of the values, with a margin; 0 to 1 without any."""
    known = np.array([v for v in values if np.isfinite(v)], dtype=float)
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    margin = 0.06 * (high - low) if high > low else 0.05
    return Axis(float(low - margin), float(high + margin), start, end)
