"""What replies cost, by stage and by model; and what a run would cost, before it."""

import pandas as pd


def cost_metrics(calls: pd.DataFrame) -> dict:
    """Calls, failures, tokens and US dollars of table calls: in all, by stage and by model.

    A reply that several tables rest on counts once, at its first stage. The dollars are those paid
    for the replies, whenever that was, so that a run of kept replies costs what it cost.
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
    }
