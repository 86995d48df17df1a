"""A finished run, read back for people: the project's last one, or a run folder.

Both are laid out alike, so that what reads one reads the other: `params.yaml`, `dvc.lock`, the
tables under `data/`, the metrics under `metrics/`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from cje.data.frames import KEY, unit_labels
from cje.data.tables import LOGGED, read_json, read_table
from cje.errors import CJEError
from cje.settings import CALL_SETTINGS, Settings, load_settings
from cje.stats.facts import PolicyDiagnostics
from cje.stats.guardrails import COLUMNS as VIOLATION_COLUMNS
from cje.stats.inference import against, square, unbeaten
from cje.thresholds import GOOD_ESS
from cje.vocabulary import Severity, Status, Verdict, WeightKind

RUNS = Path("outputs/arena_runs")
RESULTS = "token_level_cje_results.json"  # what makes a folder a run folder
LOCK = "dvc.lock"
DIGITS = 6  # of what is computed here, as metrics have
RERUN = "run dvc repro (what was paid for is kept)"
FACTS = [field.name for field in fields(PolicyDiagnostics) if field.name != "policy"]
WEIGHT_CODES = (
    "poor_overlap", "extreme_weights", "missing_support", "zero_weights", "no_teacher_forcing",
    "identical_policy_weights", "raw_logprobs",
)  # fmt: skip
VALIDATED = (
    "oracle_truth", "se_truth", "ci_low_truth", "ci_high_truth", "truth_labels", "absolute_error",
    "covered", "verdict",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished run. Scores, rewards, labels and estimates are on [0, 1]; tables are read when
    they are first asked for."""

    folder: Path
    settings: Settings

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def metrics(self, name: str) -> dict[str, Any]:
        """The JSON file of that name under `metrics/`."""
        return read_json(self.folder / "metrics" / f"{name}.json")

    @cached_property
    def estimates(self) -> pd.DataFrame:
        """Indexed by policy, best first and the refused ones last: `v_hat`, `se`, `ci_low`,
        `ci_high`, `method`, `evidence`, `labels` (on its own answers), `weights`, `ess`, `verdict`
        (the last word, after validation), `raw_judge` and `calibrated_judge` (means over its
        answers of the judge's scores, as they are and as the base's labels calibrate them), and
        where labels that no estimate used tell `oracle_truth`, `se_truth`, `ci_low_truth`,
        `ci_high_truth`, `truth_labels`, `absolute_error`, `covered`."""
        found = pd.DataFrame.from_dict(self.metrics("estimates")["results"], orient="index")
        checked = pd.DataFrame.from_dict(self.metrics("validation")["results"], orient="index")
        checked = checked.rename(columns={"labels": "truth_labels"})
        table = found.drop(columns="verdict").join(checked.reindex(columns=list(VALIDATED)))
        rewards = self._rewards
        own = rewards["draw"].eq(LOGGED) == rewards["policy"].eq(self.base)
        judge = rewards[own].groupby("policy")[["judge_raw", "calibrated_reward"]].mean()
        judge.columns = ["raw_judge", "calibrated_judge"]
        table = table.join(judge.round(DIGITS))
        refused = table["verdict"].eq(Verdict.REFUSE)
        order = pd.DataFrame({"refused": refused, "value": -table["v_hat"]})
        rows = order.sort_values(["refused", "value"], kind="stable").index
        return table.loc[rows].rename_axis("policy")

    @cached_property
    def base(self) -> str:
        """The policy that wrote the logs."""
        return next(p for p, facts in self.metrics("diagnostics").items() if facts["is_base"])

    @property
    def kept(self) -> pd.DataFrame:
        """The estimates that are not refused: what is compared and summed up."""
        return self.estimates[self.estimates["verdict"] != Verdict.REFUSE]

    @property
    def refused(self) -> list[str]:
        """The policies whose number is a projection, not to be believed."""
        return list(self.estimates.index[self.estimates["verdict"] == Verdict.REFUSE])

    @property
    def best_policy(self) -> str | None:
        """The policy of the highest estimate that is not refused; None where all are."""
        return None if self.kept.empty else str(self.kept.index[0])

    @cached_property
    def best(self) -> list[str]:
        """The policies, not refused, that no other beats beyond chance (Holm-corrected)."""
        return unbeaten(self.comparisons, list(self.kept.index), self.settings.alpha)

    @property
    def rivals(self) -> list[str]:
        """Those of `best` beside the policy of the highest estimate."""
        return [policy for policy in self.best if policy != self.best_policy]

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """A row a pair of policies that are not refused; see `inference.paired_comparisons`."""
        path = self.folder / "metrics" / "comparisons.csv"
        rows = pd.read_csv(path, keep_default_na=False, dtype={"policy_a": str, "policy_b": str})
        out = rows[["policy_a", "policy_b"]].isin(self.refused).any(axis=1)
        return rows[~out].reset_index(drop=True)

    @cached_property
    def against_base(self) -> pd.DataFrame:
        """Indexed by policy, in the order of `estimates`, without the base and the refused ones:
        `difference` of its estimate and the base's, `ci_low`, `ci_high`, `p_value_corrected`, and
        `told`: better, worse or same. Empty where the base is refused."""
        order = self.estimates.index
        return against(self.comparisons, self.base, order, self.settings.alpha)

    @cached_property
    def label_counts(self) -> dict[str, int]:
        """How many labels the estimates rest on: `base`, of its logged answers, `others`, and
        `answers`, of all policies, that could have been labelled."""
        rewards = self._rewards
        logged = rewards.loc[rewards["oracle_score"].notna(), "draw"].eq(LOGGED)
        used = int(logged.sum())
        return {"base": used, "others": len(logged) - used, "answers": len(rewards)}

    @cached_property
    def raters(self) -> dict[str, Any]:
        """How far raters agree: the fields of `labelling.agreement.Agreement`; empty where they
        shared no answers."""
        raters: dict[str, Any] = self._label_metrics.get("raters", {})
        return raters

    @property
    def waiting(self) -> int:
        """How many answers still wait for labels of people."""
        return int(self._label_metrics.get("waiting", 0))

    @property
    def _label_metrics(self) -> dict[str, Any]:
        """Empty in a run folder of before labels were counted."""
        known = (self.folder / "metrics" / "labels.json").exists()
        return self.metrics("labels") if known else {}

    @property
    def p_values(self) -> pd.DataFrame:
        """Holm-corrected, policy by policy, in the order of `estimates`; NaN with a refused one."""
        return square(self.comparisons, "p_value_corrected", list(self.estimates.index))

    @property
    def differences(self) -> pd.DataFrame:
        """Row policy's estimate minus column policy's, in the order of `estimates`; NaN with a
        refused one."""
        return square(self.comparisons, "difference", list(self.estimates.index))

    @cached_property
    def violations(self) -> pd.DataFrame:
        """`policy` (empty: it concerns all), `code`, `severity`, `message`, `remedy`, the gravest
        first."""
        path = self.folder / "metrics" / "violations.csv"
        found = pd.read_csv(path, keep_default_na=False, dtype=str)[VIOLATION_COLUMNS]
        gravity = -found["severity"].map(list(Severity).index).astype(int)  # there may be none
        return found.loc[gravity.sort_values(kind="stable").index].reset_index(drop=True)

    @property
    def issues(self) -> pd.DataFrame:
        """The violations that change a verdict."""
        return self.violations[self.violations["severity"] != Severity.NOTE]

    @property
    def notes(self) -> pd.DataFrame:
        """The violations that change none."""
        return self.violations[self.violations["severity"] == Severity.NOTE]

    @property
    def weight_issues(self) -> dict[str, list[str]]:
        """By policy, the codes of the issues of its weights; `moderate_overlap` where its status
        is WARNING for its effective sample alone."""
        found = self.issues[self.issues["code"].isin(WEIGHT_CODES)]
        issues = {
            policy: list(found.loc[found["policy"].isin((policy, "")), "code"].unique())
            for policy in self.estimates.index
        }
        for policy, row in self.diagnostics.iterrows():
            used = row["weights"] != WeightKind.NONE
            moderate = row["status"] == Status.WARNING and row["sequence_ess"] < GOOD_ESS
            if used and moderate and not issues[policy]:
                issues[policy].append("moderate_overlap")
        return issues

    def figure(self, name: str) -> Path:
        """The PNG of that name: of a run folder at its top, of a project among its plots."""
        own = self.folder / f"{name}.png"
        path = own if own.exists() else self.folder / "plots" / f"{name}.png"
        if not path.exists():
            raise CJEError(f"{path}: no such file; {RERUN}, or dvc pull")
        return path

    @cached_property
    def diagnostics(self) -> pd.DataFrame:
        """Indexed by policy, in the order of `estimates`: a column a field of
        `facts.PolicyDiagnostics`, NaN where it is not known."""
        found = pd.DataFrame.from_dict(self.metrics("diagnostics"), orient="index")
        return found.reindex(index=self.estimates.index, columns=FACTS).rename_axis("policy")

    @cached_property
    def prompts(self) -> pd.DataFrame:
        """Table prompts."""
        return read_table(self.data / "prompts.parquet", "prompts")

    @cached_property
    def logs(self) -> pd.DataFrame:
        """Table logs with `fold`, `judge_raw`, `calibrated_reward`, `oracle_score` (the label that
        estimates use), `validation_score` (the label that checks them), `judge_reason` (why the
        judge's score is what it is, or why there is none) and `oracle_reason` (the same of either
        label)."""
        logs = read_table(self.data / "logs.parquet", "logs").assign(draw=LOGGED)
        return self._scored(logs.rename(columns={"action": "policy"}))

    @cached_property
    def draws(self) -> pd.DataFrame:
        """Table draws with the same."""
        return self._scored(read_table(self.data / "draws.parquet", "draws"))

    def _scored(self, answers: pd.DataFrame) -> pd.DataFrame:
        path = self.data / "validation_labels.parquet"
        labels = unit_labels(path, "validation_labels", self.settings)
        labels = labels.rename(columns={"oracle_score": "validation_score"})
        rows = answers.merge(self._rewards, how="left", on=KEY)
        rows = rows.merge(labels[[*KEY, "validation_score"]], how="left", on=KEY)
        judged, labelled = self._score_reasons
        return rows.merge(judged, how="left", on=KEY).merge(labelled, how="left", on=KEY)

    @cached_property
    def _score_reasons(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """By answer, `judge_reason` and `oracle_reason`."""
        found = {
            name: read_table(self.data / f"{name}.parquet", name, [*KEY, "reason"])
            for name in ("proxy_scores", "oracle_labels", "validation_labels")
        }
        # Where an answer has a label of both kinds, the one that the estimate uses.
        labels = pd.concat([found["oracle_labels"], found["validation_labels"]])
        labels = labels.drop_duplicates(KEY).rename(columns={"reason": "oracle_reason"})
        judged = found["proxy_scores"].rename(columns={"reason": "judge_reason"})
        return judged, labels

    @cached_property
    def _rewards(self) -> pd.DataFrame:
        return read_table(self.data / "rewards.parquet", "rewards")

    @cached_property
    def target_logps(self) -> pd.DataFrame:
        """Table target_logps."""
        return read_table(self.data / "target_logps.parquet", "target_logps")

    @cached_property
    def influence(self) -> pd.DataFrame:
        """What every prompt contributed to the estimates, whose mean it is: prompts (uid) by
        policies."""
        rows = read_table(self.data / "influence.parquet", "influence")
        return rows.pivot(index="uid", columns="policy", values="psi")

    @cached_property
    def weights(self) -> pd.DataFrame:
        """Importance weights that the estimates used: logs (uid) by policies, mean 1."""
        rows = read_table(self.data / "weights.parquet", "weights")
        return rows.pivot(index="uid", columns="policy", values="weight")


def turned(pair: Mapping[str, Any]) -> dict[str, Any]:
    """The same comparison the other way round."""
    return {
        **pair,
        "policy_a": pair["policy_b"],
        "policy_b": pair["policy_a"],
        "difference": -pair["difference"],
        "ci_low": -pair["ci_high"],
        "ci_high": -pair["ci_low"],
    }


def open_run(folder: Path | str | None = None) -> Run:
    """The run in a folder; without one that of the project here, else the newest run folder.

    Raises CJEError where there is none, and where the project's results are not those of its
    settings.
    """
    if folder is None:
        here = Path()
        if not (here / "metrics" / "validation.json").exists() and (newest := newest_run()):
            here = newest
    else:
        here = Path(folder)
    if not here.is_dir():
        known = (
            f"; the newest is {newest}" if (newest := newest_run()) else "; cje export makes one"
        )
        raise CJEError(f"{here}: no such folder{known}")
    if not (here / "metrics" / "validation.json").exists():
        words = RERUN if folder is None else "give the project's folder or one that cje export made"
        raise CJEError(f"{here / 'metrics/validation.json'}: no such file; {words}")
    if not (here / RESULTS).exists() and (reasons := stale(here)):
        raise CJEError(f"the results here are not those of the settings: {reasons[0]}; {RERUN}")
    return Run(here, load_settings(here / "params.yaml"))


def newest_run(runs: Path = RUNS) -> Path | None:
    """The run folder with the latest name; None where there is none."""
    return max((path.parent for path in runs.glob(f"run_*/{RESULTS}")), default=None)


def stale(project: Path) -> list[str]:
    """Why the project's results are not those of its settings, a reason a line; none if they are.

    Compares what `dvc.lock` says that the last run used and made with what is there now. The
    library's own code is left to `dvc status`.
    """
    try:
        stages = locked_stages(project)
        settings = YAML(typ="safe").load((project / "params.yaml").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        return [f"{error.filename} is not there"]
    reasons = []
    for stage in stages.values():
        locked = stage.get("params", {}).get("params.yaml", {})
        then, now = telling(locked), telling(settings)
        for name, value in then.items():
            reasons += changes(name, value, now.get(name))
    for stage in stages.values():
        for out in stage.get("outs", []):
            path = project / out["path"]
            if path.is_dir():
                continue
            if not path.exists():
                reasons.append(f"{out['path']} is not there")
            elif hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != out["md5"]:
                reasons.append(f"{out['path']} is not what the last run made")
    return list(dict.fromkeys(reasons))


def telling(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that results tell of: not how calls are made, no policies without a part."""
    found = {name: value for name, value in settings.items() if name not in CALL_SETTINGS}
    if {"base_model", "target_models", "policies"} <= set(found):
        parts = {found["base_model"], *found["target_models"]}
        found["policies"] = {k: v for k, v in (found["policies"] or {}).items() if k in parts}
    return found


def changes(name: str, then: Any, now: Any) -> list[str]:
    """How a setting differs from what it was, key by key where it holds others."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        keys = dict.fromkeys([*then, *now])
        return [words for k in keys for words in changes(f"{name}.{k}", then.get(k), now.get(k))]
    return [] if now == then else [f"{name} was {brief(then)} and is {brief(now)}"]


def locked_stages(folder: Path) -> dict[str, Any]:
    """What `dvc.lock` says of each stage: its `params`, `deps` and `outs`. Raises FileNotFoundError
    where there is none."""
    lock: dict[str, dict[str, Any]] = YAML(typ="safe").load((folder / LOCK).read_text("utf-8"))
    return lock["stages"]


def brief(value: Any) -> str:
    """A setting's value in few words."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "\N{HORIZONTAL ELLIPSIS}"


def check_names(names: Iterable[str], known: Iterable[str]) -> None:
    """Raise CJEError for a policy that the run does not have."""
    known = list(known)
    for name in names:
        if name not in known:
            raise CJEError(f"{name!r} is no policy of this run; there are {', '.join(known)}")
