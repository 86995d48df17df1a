"""What the stage estimate knows about policies besides their answers, and its metrics."""

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from cje.pipeline.parts import Likeness
from cje.stats.analysis import Analysis


def known_facts(
    base: str,
    policies: Collection[str],
    likeness: Likeness,
    rescored: pd.DataFrame,
    inputs: Mapping[str, Any],
    labels: Mapping[str, Any],
) -> dict[str, dict[str, object]]:
    """By policy, what its answers and scores do not show: whether it is the base policy under
    another name, who judges itself, how well the server scores what it sampled, the share of its
    rows that was left out, and how many of its answers people have labelled.

    `rescored`: the table; `inputs` and `labels`: the metrics of those names.
    """
    gaps = rescored["rescored_logp"] - rescored["sequence_logp"]
    spread = float((gaps**2).mean() ** 0.5) if len(gaps) else 0.0
    left_out = inputs.get("left_out", {})
    lost = {policy: row["share"] for policy, row in left_out.get("draws", {}).items()}
    lost |= {base: left_out["logs"]["share"]} if "logs" in left_out else {}
    return {
        policy: {
            "identical": policy in likeness.identical,
            "self_preference": likeness.judged_by_itself.get(policy),
            "rescored_spread": 0.0 if policy == base else spread,
            "left_out": lost.get(policy, 0.0),
            "adds_labels": likeness.adds_labels,
        }
        | progress_facts(labels.get("policies", {}).get(policy, {}))
        for policy in policies
    }


def progress_facts(counts: Mapping[str, int]) -> dict[str, float]:
    """Of a policy's answers that people have come to, the shares that they skipped and passed over,
    and how many answers wait; empty where people do not label."""
    if not counts:
        return {}
    seen = max(1, counts["labelled"] + counts["skipped"] + counts["passed_over"])
    shares = {name: counts[name] / seen for name in ("skipped", "passed_over")}
    return shares | {"waiting": counts["waiting"]}


def estimate_metrics(result: Analysis) -> dict[str, Any]:
    """The best policies, the estimates by policy, and the corrected p-value of each pair."""
    pairs = zip(
        result.comparisons["policy_a"], result.comparisons["policy_b"],
        result.comparisons["p_value_corrected"], strict=True,
    )  # fmt: skip
    return {
        "best_policy": result.best_policy or "none",
        "best": ", ".join(result.best) or "none",
        "results": result.estimates.to_dict("index"),
        "p_values_corrected": {f"{a} vs {b}": p for a, b, p in pairs},
    }


def by_prompt_and_policy(frame: pd.DataFrame, value: str) -> pd.DataFrame:
    """A frame of prompts by policies as a table with a row for each `uid` and `policy`, and the
    column `value`."""
    return frame.reset_index().melt("uid", var_name="policy", value_name=value)
