"""The figures that people show, and the small tables behind them for DVC's templates.

Each figure function takes arrays or frames and a path, and writes one PNG of about 1600 x 1000
pixels. The same input gives the same bytes, whatever matplotlibrc says; pyplot is never imported.
"""

from cje.results.plots.calibration import calibration_curve, calibration_curve_data
from cje.results.plots.comparison import comparison_data, comparison_heatmap
from cje.results.plots.differences import differences, differences_data
from cje.results.plots.estimates import estimates, estimates_data
from cje.results.plots.weights import weight_dashboard, weights_data

__all__ = [
    "calibration_curve",
    "calibration_curve_data",
    "comparison_data",
    "comparison_heatmap",
    "differences",
    "differences_data",
    "estimates",
    "estimates_data",
    "weight_dashboard",
    "weights_data",
]
