"""What replies cost, by stage and by model; and what a run would cost, before it."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from cje.models.prices import price_of
from cje.settings import Prices


def priced(calls: pd.DataFrame, prices: Mapping[str, Prices]) -> pd.DataFrame:
    """Table calls with the cost of those whose price was not known when they were made.

    Such a reply was stored with a cost of 0, which no paid reply has. It gets its standard price,
    or the one in the setting `prices`; NaN if the price is still unknown.
    """
    cost = calls["cost_usd"].astype(float).copy()
    unknown = calls["reason"].isna() & ~(cost > 0)
    for model, rows in calls[unknown].groupby("model"):
        price = price_of(str(model), prices)
        cost[rows.index] = [
            float("nan") if price is None else price.cost(*tokens)
            for tokens in rows[["prompt_tokens", "completion_tokens"]].fillna(0).to_numpy(float)
        ]
    return calls.assign(cost_usd=cost)


def cost_metrics(calls: pd.DataFrame) -> dict[str, Any]:
    """Calls, failures, tokens and US dollars of table calls: in total, by stage and by model.

    A reply that several tables use counts once, in its first stage. The dollars are those paid for
    the replies, whenever that was, so that a run from stored replies costs what it cost at first;
    `unpriced` counts the replies of unknown price, which the dollars leave out.
    """
    once = calls.drop_duplicates("key")
    return _counts(once) | {
        "by_stage": {stage: _counts(rows) for stage, rows in once.groupby("stage", sort=False)},
        "by_model": {model: _counts(rows) for model, rows in once.groupby("model")},
    }


def _counts(calls: pd.DataFrame) -> dict[str, float]:
    return {
        "calls": len(calls),
        "failed": int(calls["reason"].notna().sum()),
        "prompt_tokens": int(calls["prompt_tokens"].sum()),
        "completion_tokens": int(calls["completion_tokens"].sum()),
        "usd": float(calls["cost_usd"].sum()),
        "unpriced": int((calls["cost_usd"].isna() & calls["reason"].isna()).sum()),
    }
