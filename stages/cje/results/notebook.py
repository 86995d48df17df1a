"""A run in a notebook: its estimates, comparisons, answers and figures."""

from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from cje.errors import CJEError
from cje.results.answer import conclusion
from cje.results.figures import draw_comparisons, draw_differences, draw_estimates
from cje.results.opening import open_run
from cje.results.rows import EstimateRow
from cje.results.theme import VERDICT_COLOURS
from cje.results.view import RunView
from cje.results.words import UNKNOWN, VERDICTS, count, evidence, number
from cje.stats.guardrails import violations_frame

SHOWN = (
    "policy", "v_hat", "se", "ci_low", "ci_high", "evidence", "labels", "verdict", "raw_judge",
    "calibrated_judge", "oracle_truth", "absolute_error",
)  # fmt: skip
ANSWER_COLUMNS = (
    "uid", "policy", "draw", "prompt", "answer", "judge_raw", "calibrated_reward", "oracle_score",
    "validation_score", "judge_reason", "oracle_reason", "finish_reason", "completion_tokens",
)  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A figure as PNG: a notebook shows it, `save` writes it."""

    png: bytes = field(repr=False)

    def _repr_png_(self) -> bytes:
        return self.png

    def save(self, path: Path | str) -> None:
        """Write the PNG."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(self.png)


class ArenaAnalyzer:
    """A finished run, to explore.

    `run_dir`: a run folder of `cje export` or `cje run`, or a project; without one the project
    here, else the newest run folder. Raises CJEError where there is no run, or its results are not
    those of its settings. All scores, rewards, labels and estimates are on [0, 1].
    """

    def __init__(self, run_dir: Path | str | None = None):
        self.view = RunView(open_run(run_dir))

    @property
    def estimates(self) -> pd.DataFrame:
        """Indexed by policy, best first, the refused ones last; see `Run.estimates`."""
        return self.view.table

    @property
    def best_policy(self) -> str | None:
        """The first policy that is not refused; None if all are."""
        return self.view.best_policy

    @property
    def best(self) -> list[str]:
        """The policies, not refused, that no other beats beyond chance."""
        return self.view.best

    @property
    def violations(self) -> pd.DataFrame:
        """What the guard rails found, the gravest first and notes, which change no verdict, last:
        `policy` (empty: it concerns all), `code`, `severity`, `message`, `remedy`."""
        return violations_frame(self.view.violations).fillna({"policy": ""})

    @property
    def comparisons(self) -> pd.DataFrame:
        """Every pair of policies that are not refused; see `inference.paired_comparisons`."""
        return self.view.comparisons

    def compare(self, a: str, b: str) -> pd.Series:
        """Policy a minus policy b on the same prompts: `policy_a`, `policy_b`, `difference`, `se`,
        `ci_low`, `ci_high`, `p_value`, `p_value_corrected` (Holm, over all pairs), and the
        `conclusion` on policy a: better, worse, or same where the difference is not clear. Raises
        CJEError for an unknown policy, or a refused one."""
        self.view.check_policies((a, b))
        if a == b:
            raise CJEError(f"{a!r} is compared with itself; give two policies")
        for policy in (a, b):
            if policy in self.view.refused:
                raise CJEError(f"{policy!r} is refused, so in no comparison; {self.remedy(policy)}")
        return pd.Series(vars(self.view.difference(a, b)), name=f"{a} - {b}")

    def remedy(self, policy: str) -> str:
        """What would fix the gravest finding about a policy."""
        return next(one.remedy for one in self.view.violations if one.policy in (policy, None))

    def answers(self, policy: str | None = None) -> pd.DataFrame:
        """The answers of a policy, logged ones (of the base policy) and fresh ones, with scores:
        `uid`, `policy`, `draw` (-1: logged), `prompt`, `answer`, `judge_raw`, `calibrated_reward`,
        `oracle_score` (the label that estimates use; NaN where there is none), `validation_score`
        (the label that checks them), `judge_reason` and `oracle_reason` (why their scores are what
        they are), `finish_reason`, `completion_tokens`; of logged ones also
        `weight_<policy>`, the importance weights that the estimates used. Without a policy, all of
        them. Raises CJEError for an unknown policy."""
        run = self.view.run
        logged, fresh = run.logs[list(ANSWER_COLUMNS)], run.draws[list(ANSWER_COLUMNS)]
        if policy is not None:
            self.view.check_policies((policy,))
            logged, fresh = (frame[frame["policy"] == policy] for frame in (logged, fresh))
        if logged.empty:
            return fresh.reset_index(drop=True)
        weights = run.weights.add_prefix("weight_").reset_index()
        return pd.concat([logged.merge(weights, how="left", on="uid"), fresh], ignore_index=True)

    def diagnose_weights(self) -> pd.DataFrame:
        """Indexed by policy: the weights that its estimate used and why, their effective sample
        size `ess` (share of the logs), `exact_ess` and `exact_mean_weight` of its
        log-probabilities and their `reach` (stands, weak, none), `max_share`, `zero_share`,
        `extreme_share`, `status` (GOOD, WARNING, CRITICAL; "not used" where the estimate uses no
        weights), `issues`."""
        issues = self.view.weight_issues
        rows = {
            row.policy: {
                "weights": row.weights, "why": row.why, "ess": row.ess, "exact_ess": row.exact_ess,
                "exact_mean_weight": row.exact_mean_weight, "reach": row.reach,
                "max_share": row.max_share, "zero_share": row.zero_share,
                "extreme_share": row.extreme_share,
                "status": row.status if row.used else "not used",
                "issues": ", ".join(issues[row.policy]) or "none",
            }
            for row in self.view.overlap
        }  # fmt: skip
        table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("policy")
        numbers = table.columns.difference(["weights", "why", "reach", "status", "issues"])
        return table.astype(dict.fromkeys(numbers, float))

    def plot_weight_diagnostics(self) -> Picture:
        """Effective sample sizes, weights, and who carries them, by policy."""
        return Picture(self.view.run.figure("weights").read_bytes())

    def plot_calibration(self) -> Picture:
        """Judge against oracle on the labelled logs, with the fitted calibrator."""
        return Picture(self.view.run.figure("calibration_curve").read_bytes())

    def plot_comparisons(self) -> Picture:
        """The Holm-corrected p-values of all pairs that are not refused."""
        return drawn(draw_comparisons, self.view)

    def plot_differences(self) -> Picture:
        """Every policy against the base policy, with its interval."""
        return drawn(draw_differences, self.view)

    def plot_estimates(self) -> Picture:
        """Every policy's estimate with its interval and verdict, and the oracle's truth."""
        return drawn(draw_estimates, self.view)

    def __repr__(self) -> str:
        folder = str(self.view.run.folder)
        return f"ArenaAnalyzer({folder!r}): {'; '.join(conclusion(self.view))}"

    def _repr_html_(self) -> str:
        """The conclusion and the table of estimates."""
        head = "".join(f"<th>{escape(name)}</th>" for name in SHOWN)
        lines = "<br>".join(escape(line) for line in conclusion(self.view))
        rows = "".join(html_row(row) for row in self.view.estimates)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        return f"<p><b>{lines}</b></p>{table}"


def drawn(figure: Callable[[RunView, Path], None], view: RunView) -> Picture:
    """A figure of a run, drawn now."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        figure(view, path)
        return Picture(path.read_bytes())


def html_row(row: EstimateRow) -> str:
    """A policy's row, in the order of SHOWN: refused numbers struck out, the verdict in its
    colour."""
    estimate = [number(value) for value in (row.v_hat, row.se, row.ci_low, row.ci_high)]
    if row.refused:
        estimate = [f"<s>{words}</s>" for words in estimate]
    cells = [*estimate, evidence(row), count(row.labels)]
    truth = [UNKNOWN, UNKNOWN]
    if row.truth is not None:
        truth = [number(row.truth.oracle_truth), number(row.truth.absolute_error)]
    after = [number(row.raw_judge), number(row.calibrated_judge), *truth]
    verdict = (
        f'<td style="color:{VERDICT_COLOURS[row.verdict]};font-weight:bold">'
        f"{VERDICTS[row.verdict]}</td>"
    )

    def filled(words: list[str]) -> str:
        return "".join(f"<td>{word}</td>" for word in words)

    return f"<tr><th>{escape(row.policy)}</th>{filled(cells)}{verdict}{filled(after)}</tr>"
