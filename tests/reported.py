"""A finished run made by hand, in no time, and of any size: tables, metrics, settings."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from cje.data.tables import write_table
from pipeline import SIMULATED

WORDS = "the answer is a long one of many words and says little about what was asked".split()
VERDICTS = ("caution", "reliable", "refuse")


def write_run(
    folder: Path,
    *,
    prompts: int = 45,
    policies: tuple[str, ...] = ("better", "clone", "strange"),
    verdicts: tuple[str, ...] = VERDICTS,
    texts: tuple[str | None, ...] = (),
    logps: bool = True,
    labels: bool = True,
    source: str = "models",
    length: int = 12,
) -> Path:
    """Write it there.

    `texts`: the first prompts, and their logged answers. Without `logps` no log-probability is
    known, without `labels` no answer has a label that checks. The last policy cannot give every
    token. The base policy comes last in the metrics, its verdict the next of `verdicts`.
    """
    random = np.random.default_rng(7)
    uids = [f"u{place:05d}" for place in range(prompts)]
    asked = [f"Question {place}: what is it?" for place in range(prompts)]
    for place, text in enumerate(texts):
        asked[place] = text or "nothing"
    (folder / "data").mkdir(parents=True)
    (folder / "metrics").mkdir()
    settings = YAML(typ="safe").load(SIMULATED.read_text()) | {"source": source}
    settings["policies"] |= {name: {"model": "sim/base"} for name in policies}
    settings["target_models"] = list(policies)
    YAML().dump(settings, folder / "params.yaml")

    def save(name: str, frame: pd.DataFrame) -> None:
        write_table(frame, name, folder / "data" / f"{name}.parquet")

    def answers(policy: str, draw: int) -> pd.DataFrame:
        tokens = [[f" {word}" for word in random.choice(WORDS, length)] for _ in uids]
        given = ["".join(parts).strip() for parts in tokens]
        for place, text in enumerate(texts):
            given[place] = text
        scores = [-random.exponential(1.0, length) for _ in uids]
        kind = {
            "uid": uids, "prompt": asked, "answer": given, "model": "sim/base",
            "finish_reason": random.choice(["stop", "length"], prompts).tolist(),
            "prompt_tokens": 9, "completion_tokens": length, "token_ids": None, "reason": None,
            "tokens": tokens if logps else None,
            "token_logprobs": scores if logps else None,
            "sequence_logp": [row.sum() for row in scores] if logps else None,
            "logprob_kind": "sampling" if logps else None,
        }  # fmt: skip
        return pd.DataFrame(kind | {"policy": policy, "draw": draw})

    logs = answers("base", -1).drop(columns="draw").rename(columns={"policy": "action"})
    draws = pd.concat([answers(policy, 0) for policy in policies], ignore_index=True)
    known = {"uid": uids, "prompt": asked, "source": "s", "checks": None, "reference": None}
    save("prompts", pd.DataFrame(known))
    save("logs", logs)
    save("draws", draws)
    base = pd.DataFrame({"uid": uids, "policy": "base", "draw": -1})
    keys = pd.concat([base, draws[["uid", "policy", "draw"]]])
    judged = random.uniform(0, 1, len(keys))
    label = (judged + random.normal(0, 0.2, len(keys))).clip(0, 1)
    seen = random.uniform(size=len(keys)) < np.where(keys["draw"] == -1, 0.4, 0.2)
    scored = keys.assign(
        fold=0, judge_raw=judged, calibrated_reward=0.1 + 0.8 * judged,
        oracle_score=np.where(seen, label, np.nan),
    )  # fmt: skip
    save("rewards", scored)
    reasons = keys.assign(reason=[f"The judge saw {place}." for place in range(len(keys))])
    save("proxy_scores", reasons.assign(judge_raw=judged))
    labelled = keys.assign(reason="The oracle says why.", oracle_score=5.0, oracle_prob=1.0)
    save("oracle_labels", labelled[seen])
    spare = scored["oracle_score"].isna() & scored["uid"].isin(uids[::2])
    held_out = scored[spare & labels][["uid", "policy", "draw"]]
    checking = held_out.assign(reason="A check.", oracle_score=5.0, oracle_prob=1.0)
    save("validation_labels", checking)
    targets = []
    for place, policy in enumerate(policies if logps else ()):
        for uid, base in zip(uids, logs["token_logprobs"], strict=True):
            other = np.minimum(base + random.normal(0, 1.5, length), 0)
            if place == len(policies) - 1:
                other[3] = -np.inf
            row = {
                "uid": uid,
                "policy": policy,
                "token_logprobs": other,
                "logprob_kind": "sampling",
            }
            targets.append(row | {"sequence_logp": other.sum()})
    columns = ["uid", "policy", "token_logprobs", "sequence_logp", "logprob_kind"]
    save("target_logps", pd.DataFrame(targets, columns=columns))
    pairs = [(uid, policy) for policy in policies for uid in uids]
    weights = pd.DataFrame(pairs, columns=["uid", "policy"])
    every = [(uid, policy) for policy in (*policies, "base") for uid in uids]
    influence = pd.DataFrame(every, columns=["uid", "policy"])
    save("influence", influence.assign(psi=random.uniform(0, 1, len(influence))))
    save("weights", weights.assign(weight=random.exponential(1.0, len(weights))))
    write_metrics(folder / "metrics", policies, verdicts, logps, labels)
    return folder


def write_metrics(
    folder: Path, policies: tuple[str, ...], verdicts: tuple[str, ...], logps: bool, labels: bool
) -> None:
    """Metrics of the kind that the stages write."""
    found, checked, facts = {}, {}, {}
    for place, policy in enumerate([*policies, "base"]):
        value = 0.8 - 0.5 * place / max(len(policies), 2)
        word, is_base = verdicts[place % len(verdicts)], policy == "base"
        kind = "none" if is_base else "sequence" if logps else "marginal"
        evidence = "none" if word == "refuse" else "own labels" if is_base else "both"
        found[policy] = {
            "v_hat": value, "se": 0.02, "ci_low": value - 0.04, "ci_high": value + 0.04,
            "method": "dr-cpo", "evidence": evidence, "labels": 20, "weights": kind,
            "ess": 0.5, "verdict": word,
        }  # fmt: skip
        known = {
            "oracle_truth": 0.5, "se_truth": 0.01, "ci_low_truth": 0.48, "ci_high_truth": 0.52,
            "labels": 40, "absolute_error": abs(value - 0.5), "covered": abs(value - 0.5) < 0.1,
        }  # fmt: skip
        checked[policy] = (known if labels else {}) | {"verdict": word}
        exact = {"sequence_ess": 0.31, "sequence_mean_weight": 0.9} if logps and not is_base else {}
        facts[policy] = {"is_base": is_base, "weights": kind, "why": "it reaches them"}
        facts[policy] |= {"status": "GOOD", "reach": "stands", "ess": 0.5} | exact
    calibration = {
        "labels": 18, "spearman": 0.7, "calibration_error": 0.02, "r2": 0.4, "rmse": 0.2,
        "calibration_error_by_chance": 0.015, "calibration_error_raw": 0.2,
        "score_low": 0.1, "score_high": 0.9, "form": "isotonic",
    }  # fmt: skip
    for name, value in {
        "estimates": {"results": found},
        "validation": {"coverage": 1.0 if labels else None, "results": checked},
        "diagnostics": facts,
        "calibration": calibration,
        "cost": {
            "calls": 0, "failed": 0, "prompt_tokens": 0, "completion_tokens": 0, "usd": 0.0,
            "unpriced": 0,
            "by_stage": {}, "by_model": {},
        },
    }.items():  # fmt: skip
        (folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    kept = [policy for policy, row in found.items() if row["verdict"] != "refuse"]
    rows = [
        (a, b, found[a]["v_hat"] - found[b]["v_hat"], 0.02, -0.01, 0.09, 0.001, 0.004)
        for a, b in combinations(kept, 2)
    ]
    columns = "policy_a policy_b difference se ci_low ci_high p_value p_value_corrected".split()
    pd.DataFrame(rows, columns=columns).to_csv(folder / "comparisons.csv", index=False)
    rails = [
        (policy, "missing_support", "critical", "the logs miss it", "log wider")
        for policy, row in found.items()
        if row["verdict"] == "refuse"
    ]
    rails.append(("", "self_preference", "note", "the judge judges itself", "take another"))
    columns = ["policy", "code", "severity", "message", "remedy"]
    pd.DataFrame(rails, columns=columns).to_csv(folder / "violations.csv", index=False)
