"""The prompt-cluster bootstrap: everything fitted again on prompts drawn with replacement."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from cje.calibration import CrossFit, cross_fit
from cje.samples import Draws, Logs, Samples


def bootstrap_intervals(
    samples: Samples,
    form: str,
    estimate: Callable[[Logs, str, Draws | None, np.ndarray | None, CrossFit], float],
    alpha: float,
    replicates: int,
    seed: int,
) -> dict[str, tuple[float, float, float]]:
    """Standard error and percentile interval by policy, prompts drawn with replacement.

    Everything is fitted again on each replicate, the calibration in its `form`; a prompt keeps its
    fold, so that no copy of it is in its own training set. `estimate` gives a policy's value from
    logs, name, draws, log-ratios and calibration.
    """
    rng = np.random.default_rng(seed)
    values: dict[str, list[float]] = {policy: [] for policy in samples.draws}
    prompts = samples.logs.prompts
    for _ in range(replicates):
        count = np.bincount(rng.integers(prompts, size=prompts), minlength=prompts)
        rows = np.repeat(np.arange(len(samples.logs.prompt)), count[samples.logs.prompt])
        logs = _take_logs(samples.logs, rows)
        if logs.labelled.sum() < 2:
            continue
        fit = _refit(logs, form)
        columns = logs.covariates
        logs = replace(logs, reward=fit.predict(logs.score, logs.fold, columns))
        for policy, drawn in samples.draws.items():
            draws = None
            if drawn is not None:
                keep = np.repeat(np.arange(len(drawn.prompt)), count[drawn.prompt])
                if not len(keep):
                    continue
                draws = _take_draws(drawn, keep, fit)
            ratio = samples.log_ratios[policy]
            ratio = None if ratio is None else ratio[rows]
            if ratio is not None and np.isnan(ratio).all():
                ratio = None
            if draws is None and ratio is None:
                continue
            values[policy].append(estimate(logs, policy, draws, ratio, fit))
    intervals = {}
    for policy, drawn in values.items():
        if len(drawn) >= 2:
            low, high = np.quantile(drawn, [alpha / 2, 1 - alpha / 2])
            intervals[policy] = (float(np.std(drawn, ddof=1)), float(low), float(high))
    return intervals


def _refit(logs: Logs, form: str) -> CrossFit:
    rows = logs.labelled
    columns = None if logs.covariates is None else logs.covariates[rows]
    return cross_fit(
        logs.score[rows], logs.utility[rows], logs.label_weight[rows], logs.fold[rows],
        logs.folds, columns, form,
    )  # fmt: skip


def _take_logs(logs: Logs, rows: np.ndarray) -> Logs:
    weight = logs.label_weight[rows]
    return replace(
        logs,
        prompt=logs.prompt[rows],
        fold=logs.fold[rows],
        score=logs.score[rows],
        reward=logs.reward[rows],
        utility=logs.utility[rows],
        label_weight=weight / (weight.mean() or 1.0),
        covariates=None if logs.covariates is None else logs.covariates[rows],
    )


def _take_draws(draws: Draws, rows: np.ndarray, fit: CrossFit) -> Draws:
    columns = None if draws.covariates is None else draws.covariates[rows]
    share = draws.share[rows]
    return replace(
        draws,
        prompt=draws.prompt[rows],
        fold=draws.fold[rows],
        score=draws.score[rows],
        reward=fit.predict(draws.score[rows], draws.fold[rows], columns),
        utility=draws.utility[rows],
        label_weight=draws.label_weight[rows],
        share=share / share.sum(),
        covariates=columns,
    )
