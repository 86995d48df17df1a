"""The order in which the answers of a run are labelled, as its settings want it."""

import numpy as np
import pandas as pd

from cje.pipeline.choice import sample_order
from cje.settings import Settings
from cje.stats.sampling import Design, active_design, expected_sizes
from cje.vocabulary import Sampling


def labelling_design(settings: Settings, prompts: pd.DataFrame, scores: pd.DataFrame) -> Design:
    """The design by which the prompts (N rows) are labelled, the same for all policies.

    `scores`: table proxy_scores, of which `sampling: active` takes the sizes to expect.
    """
    order = np.array(sample_order(prompts["uid"], settings.seed, "oracle"), dtype=int)
    if settings.sampling is Sampling.UNIFORM:
        return Design.uniform(order)
    wide = scores.pivot_table("judge_raw", "uid", "policy", dropna=False)
    # In the random order, so that the order of the rows decides nothing.
    size, place = expected_sizes(wide.reindex(prompts["uid"].iloc[order]).to_numpy(float))
    found = active_design(size, place, settings.seed)
    chance = np.empty(len(order))
    chance[order] = found.chance
    return Design(order[found.order], found.first, chance)
