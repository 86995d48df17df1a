"""The orders in which the answers of a run are labelled, by its settings."""

import numpy as np
import pandas as pd

from cje.data.tables import LOGGED
from cje.pipeline.choice import AnswerPool, Designs, label_counts, sample_order
from cje.settings import Settings
from cje.stats.sampling import (
    Design,
    judged_places,
    residual_sizes,
    sized_design,
    spread_design,
)
from cje.vocabulary import Sampling


def answer_pool(
    settings: Settings,
    prompts: pd.DataFrame,
    logs: pd.DataFrame,
    draws: pd.DataFrame,
    scores: pd.DataFrame,
) -> AnswerPool:
    """The answers that can be labelled, with the designs of `labelling_designs`."""
    return AnswerPool(prompts, logs, draws, labelling_designs(settings, prompts, scores))


def labelling_designs(settings: Settings, prompts: pd.DataFrame, scores: pd.DataFrame) -> Designs:
    """The designs by which the prompts (N rows) are labelled: one for the logs, one for all
    targets.

    `scores`: table proxy_scores, from which `sampling: active` predicts residuals; it learns the
    targets' design from the labels on the logs.
    """
    order = np.array(sample_order(prompts["uid"], settings.seed, "oracle"), dtype=int)
    if settings.sampling is Sampling.UNIFORM:
        design = Design.uniform(order)
        return Designs(design, design)
    # In the random order, so that the order of the rows decides nothing.
    uids = prompts["uid"].iloc[order]
    judged = _by_policy(scores, uids)
    place = judged_places(judged)
    logged = spread_design(place, settings.seed)
    count, _ = label_counts(settings, len(order))

    def own(labels: pd.Series) -> Design:
        utility = labels.reindex(uids).to_numpy(float)
        # Labels of the base beyond the settings' share must not change the design.
        size = residual_sizes(judged, np.where(logged.chosen(count), utility, np.nan))
        return sized_design(size, place, logged, count, settings.seed).renumbered(order)

    return Designs(logged.renumbered(order), None, own)


def _by_policy(scores: pd.DataFrame, uids: pd.Series) -> np.ndarray:
    """The judge scores of the prompts (N, P), a policy's mean where it has several answers; the
    policy of the logs first."""
    wide = scores.pivot_table("judge_raw", "uid", "policy", dropna=False).reindex(uids)
    logged = scores["policy"][scores["draw"] == LOGGED].unique()
    others = [policy for policy in wide.columns if policy not in logged]
    found: np.ndarray = wide.reindex(columns=[*logged, *others]).to_numpy(float)
    return found
