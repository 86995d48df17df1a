"""What a finished run shows: rows of numbers, and what follows from them, each worked out once.

Console, notebook, report, export and figures take what they show from here; the files behind it
are those of `run.Run`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from cje.data.tables import LOGGED
from cje.errors import CJEError
from cje.results.rows import (
    AnswerCounts,
    CalibrationView,
    CostView,
    DifferenceRow,
    EstimateRow,
    OverlapRow,
    RaterAgreement,
    TruthErrors,
    TruthRow,
    best_first,
    by_pair,
    cost_row,
    difference_rows,
    estimate_row,
    known,
    overlap_row,
)
from cje.results.run import Run
from cje.stats.guardrails import Violation, violations_list
from cje.stats.inference import unbeaten
from cje.stats.rails import RAILS
from cje.thresholds import GOOD_ESS
from cje.vocabulary import Conclusion, Severity, Status

MEANINGS = {rail.code: rail.meaning for rail in RAILS}
WEIGHT_CODES = (
    "poor_overlap", "extreme_weights", "missing_support", "zero_weights", "no_teacher_forcing",
    "identical_policy_weights", "raw_logprobs",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """What guard rails found under one code and severity; `remedies` are what would fix it, each
    with the violations that it would fix."""

    code: str
    severity: Severity
    meaning: str
    remedies: dict[str, list[Violation]]


@dataclass(frozen=True)
class RunView:
    """A finished run as rows of numbers. Policies are in the order of `estimates` everywhere."""

    run: Run

    @property
    def alpha(self) -> float:
        """Intervals are of level 1 - alpha, differences clear at a corrected p-value below it."""
        return self.run.settings.alpha

    @property
    def labels_in_files(self) -> bool:
        """Whether all labels are in the user's own files, and no setting draws more."""
        return self.run.settings.source == "files" and not self.run.settings.asks_people

    @property
    def base(self) -> str:
        """The policy that wrote the logs."""
        return self.run.base

    @cached_property
    def table(self) -> pd.DataFrame:
        """`Run.estimates`, best policy first and the refused ones last."""
        return best_first(self.run.estimates)

    @cached_property
    def estimates(self) -> tuple[EstimateRow, ...]:
        """A row a policy, best first and the refused ones last."""
        rows = self.table.reset_index().to_dict("records")
        return tuple(estimate_row(row, self.base) for row in rows)

    @property
    def policies(self) -> list[str]:
        """Their names."""
        return [row.policy for row in self.estimates]

    @property
    def kept(self) -> list[EstimateRow]:
        """The estimates that are not refused: what is compared and summed up."""
        return [row for row in self.estimates if not row.refused]

    @property
    def refused(self) -> list[str]:
        """The policies whose number is a projection, not to be believed."""
        return [row.policy for row in self.estimates if row.refused]

    @property
    def best_policy(self) -> str | None:
        """The policy of the highest estimate that is not refused; None where all are."""
        return self.kept[0].policy if self.kept else None

    @cached_property
    def best(self) -> list[str]:
        """The policies, not refused, that no other beats beyond chance (Holm-corrected)."""
        return unbeaten(self.comparisons, [row.policy for row in self.kept], self.alpha)

    @property
    def rivals(self) -> list[str]:
        """Those of `best` beside the policy of the highest estimate."""
        return [policy for policy in self.best if policy != self.best_policy]

    @property
    def best_beats_all(self) -> bool:
        """Whether the policy of the highest estimate is better beyond chance than each other."""
        pairs = [row for row in self.differences if row.policy_a == self.best_policy]
        clear = [row for row in pairs if row.conclusion == Conclusion.BETTER]
        return len(clear) == len(self.kept) - 1

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """`Run.comparisons` without the refused policies."""
        rows = self.run.comparisons
        out = rows[["policy_a", "policy_b"]].isin(self.refused).any(axis=1)
        return rows[~out].reset_index(drop=True)

    @cached_property
    def differences(self) -> tuple[DifferenceRow, ...]:
        """Every pair of policies that are not refused once, the better one as policy a."""
        return tuple(difference_rows(self.comparisons, self.policies, self.alpha))

    @property
    def clear_differences(self) -> int:
        """How many of `differences` are beyond chance."""
        return sum(row.conclusion != Conclusion.SAME for row in self.differences)

    def difference(self, a: str, b: str) -> DifferenceRow | None:
        """Policy a minus policy b; None where they are the same, or one of them is refused."""
        return self._by_pair.get((a, b))

    @cached_property
    def _by_pair(self) -> dict[tuple[str, str], DifferenceRow]:
        return by_pair(self.differences)

    @cached_property
    def against_base(self) -> tuple[DifferenceRow, ...]:
        """Every other policy that is not refused minus the base policy, in the order of
        `estimates`; empty where the base is refused."""
        found = (self.difference(policy, self.base) for policy in self.policies)
        return tuple(row for row in found if row is not None)

    @cached_property
    def truths(self) -> list[tuple[EstimateRow, TruthRow]]:
        """The policies of which the truth is known, with it."""
        return [(row, row.truth) for row in self.estimates if row.truth is not None]

    @cached_property
    def errors(self) -> TruthErrors | None:
        """How far judge and estimates are from the truth; None where it is known of no policy that
        is not refused."""
        found = [(row, truth) for row, truth in self.truths if not row.refused]
        if not found:
            return None

        def distance(name: str) -> float | None:
            gaps = [
                abs(value - truth.oracle_truth)
                for row, truth in found
                if (value := getattr(row, name)) is not None
            ]
            return float(np.mean(gaps)) if gaps else None

        return TruthErrors(
            raw_judge=distance("raw_judge"),
            calibrated_judge=distance("calibrated_judge"),
            estimate=distance("v_hat"),
            covered=sum(truth.covered for _, truth in found),
            policies=len(found),
            largest=max(found, key=lambda pair: pair[1].absolute_error),
        )

    @cached_property
    def overlap(self) -> tuple[OverlapRow, ...]:
        """A row a policy: the weights that its estimate used, and the exact ones."""
        facts = self.run.metrics("diagnostics")
        return tuple(overlap_row(policy, facts[policy]) for policy in self.policies)

    @property
    def weight_issues(self) -> dict[str, list[str]]:
        """By policy, the codes of the issues of its weights; `moderate_overlap` where its status
        is WARNING for its effective sample alone."""
        found = [one for one in self.issues if one.code in WEIGHT_CODES]
        issues = {
            policy: list(dict.fromkeys(one.code for one in found if one.policy in (policy, None)))
            for policy in self.policies
        }
        for row in self.overlap:
            low = row.exact_ess is not None and row.exact_ess < GOOD_ESS
            if row.used and row.status == Status.WARNING and low and not issues[row.policy]:
                issues[row.policy].append("moderate_overlap")
        return issues

    @cached_property
    def calibration(self) -> CalibrationView:
        """How good the judge is."""
        found = self.run.metrics("calibration")
        names = (
            "spearman", "calibration_error", "calibration_error_by_chance", "calibration_error_raw",
            "r2", "rmse", "score_low", "score_high",
        )  # fmt: skip
        numbers = {name: known(found.get(name)) for name in names}
        return CalibrationView(labels=found["labels"], form=found["form"], **numbers)

    @cached_property
    def violations(self) -> list[Violation]:
        """What the guard rails found, the gravest first."""
        found = violations_list(self.run.violations.replace({"policy": {"": None}}))
        return sorted(found, key=lambda one: -list(Severity).index(one.severity))

    @property
    def issues(self) -> list[Violation]:
        """The violations that change a verdict."""
        return [one for one in self.violations if one.severity != Severity.NOTE]

    @property
    def notes(self) -> list[Violation]:
        """The violations that change none."""
        return [one for one in self.violations if one.severity == Severity.NOTE]

    @property
    def critical(self) -> list[Violation]:
        """The violations that refuse policies."""
        return [one for one in self.violations if one.severity == Severity.CRITICAL]

    @cached_property
    def answers(self) -> AnswerCounts:
        """How many answers there are, judged, and labelled for the estimates."""
        rewards = self.run.rewards
        logged = rewards["draw"].eq(LOGGED)
        labelled = rewards["oracle_score"].notna()
        return AnswerCounts(
            prompts=int(logged.sum()),
            answers=len(rewards),
            judged=int(rewards["judge_raw"].notna().sum()),
            base_labels=int((labelled & logged).sum()),
            other_labels=int((labelled & ~logged).sum()),
        )

    @property
    def raters(self) -> RaterAgreement | None:
        """How far raters agree; None where they shared no answers."""
        found = self.run.label_metrics.get("raters")
        return RaterAgreement(**found) if found else None

    @property
    def waiting(self) -> int:
        """How many answers still wait for labels of people."""
        return int(self.run.label_metrics.get("waiting", 0))

    @cached_property
    def cost(self) -> CostView:
        """What the calls to models cost."""
        found = self.run.metrics("cost")
        return CostView(
            total=cost_row("all", found),
            by_stage=[cost_row(name, row) for name, row in found.get("by_stage", {}).items()],
            by_model=[cost_row(name, row) for name, row in found.get("by_model", {}).items()],
        )

    def check_policies(self, names: Iterable[str]) -> None:
        """Raise CJEError for a policy that the run does not have."""
        for name in names:
            if name not in self.policies:
                there = ", ".join(self.policies)
                raise CJEError(f"{name!r} is no policy of this run; there are {there}")


def findings(violations: Iterable[Violation]) -> list[Finding]:
    """One for each code and severity, in the order of the violations."""
    found: dict[tuple[str, Severity], Finding] = {}
    for one in violations:
        key = (one.code, one.severity)
        finding = found.setdefault(key, Finding(*key, MEANINGS[one.code], {}))
        finding.remedies.setdefault(one.remedy, []).append(one)
    return list(found.values())
