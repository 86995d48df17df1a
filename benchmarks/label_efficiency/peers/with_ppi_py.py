"""Prediction-powered inference as ppi_py does it, lambda tuned: one policy at a time."""

import numpy as np
from ppi_py import ppi_mean_ci, ppi_mean_pointestimate

from label_efficiency.exchange import Answers, Redraw, interval_answer, serve

Z = 1.959963984540054  # of its normal interval: ppi_py gives no standard error


def answer(redraw: Redraw) -> Answers:
    labelled = ~np.isnan(redraw.oracle[:, 1])
    scores, found = redraw.whole_judge, []
    for column in range(1, scores.shape[1]):
        judge, oracle = scores[:, column], redraw.oracle[:, column]
        data = (oracle[labelled], judge[labelled], judge[~labelled])
        value = np.squeeze(ppi_mean_pointestimate(*data))
        low, high = map(np.squeeze, ppi_mean_ci(*data, alpha=0.05))
        found.append((value, (high - low) / (2 * Z), low, high))
    return {"ppi_py": interval_answer(*np.array(found, dtype=float).T)}


if __name__ == "__main__":
    serve(answer)
