"""The files of a finished run: of a project, or of a run folder.

Both are laid out alike, so that what reads one reads the other: `params.yaml`, `dvc.lock`, the
tables under `data/`, the metrics under `metrics/`.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from cje.data.frames import KEY, unit_labels
from cje.data.tables import LOGGED, read_json, read_table
from cje.errors import CJEError
from cje.settings import Settings
from cje.stats.guardrails import COLUMNS as VIOLATION_COLUMNS

RESULTS = "token_level_cje_results.json"  # what makes a folder a run folder
LOCK = "dvc.lock"
DIGITS = 6  # of what is computed here, as metrics have
RERUN = "run dvc repro (what was paid for is kept)"
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
        """Indexed by policy: `v_hat`, `se`, `ci_low`, `ci_high`, `method`, `evidence`, `labels` (on
        its own answers), `weights`, `ess`, `verdict` (the last word, after validation), `raw_judge`
        and `calibrated_judge` (means over its answers of the judge's scores, as they are and as the
        base's labels calibrate them), and where there are labels that no estimate used
        `oracle_truth`, `se_truth`, `ci_low_truth`, `ci_high_truth`, `truth_labels`,
        `absolute_error`, `covered`."""
        found = pd.DataFrame.from_dict(self.metrics("estimates")["results"], orient="index")
        checked = pd.DataFrame.from_dict(self.metrics("validation")["results"], orient="index")
        checked = checked.rename(columns={"labels": "truth_labels"})
        table = found.drop(columns="verdict").join(checked.reindex(columns=list(VALIDATED)))
        rewards = self.rewards
        own = rewards["draw"].eq(LOGGED) == rewards["policy"].eq(self.base)
        judge = rewards[own].groupby("policy")[["judge_raw", "calibrated_reward"]].mean()
        judge.columns = ["raw_judge", "calibrated_judge"]
        return table.join(judge.round(DIGITS)).rename_axis("policy")

    @cached_property
    def base(self) -> str:
        """The policy that wrote the logs."""
        return next(p for p, facts in self.metrics("diagnostics").items() if facts["is_base"])

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """A row a pair of policies; see `inference.paired_comparisons`."""
        path = self.folder / "metrics" / "comparisons.csv"
        return pd.read_csv(path, keep_default_na=False, dtype={"policy_a": str, "policy_b": str})

    @cached_property
    def violations(self) -> pd.DataFrame:
        """`policy` (empty: it concerns all), `code`, `severity`, `message`, `remedy`."""
        path = self.folder / "metrics" / "violations.csv"
        return pd.read_csv(path, keep_default_na=False, dtype=str)[VIOLATION_COLUMNS]

    @property
    def label_metrics(self) -> dict[str, Any]:
        """Of the labels: how many wait for people, how far raters agree. Empty in a run folder from
        before labels were counted."""
        known = (self.folder / "metrics" / "labels.json").exists()
        return self.metrics("labels") if known else {}

    def figure(self, name: str) -> Path:
        """The PNG of that name: of a run folder at its top, of a project among its plots."""
        own = self.folder / f"{name}.png"
        path = own if own.exists() else self.folder / "plots" / f"{name}.png"
        if not path.exists():
            raise CJEError(f"{path}: no such file; {RERUN}, or dvc pull")
        return path

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
        rows = answers.merge(self.rewards, how="left", on=KEY)
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
    def rewards(self) -> pd.DataFrame:
        """Table rewards."""
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
