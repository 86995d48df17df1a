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
from cje.results.run import Run, check_names, open_run
from cje.results.theme import VERDICT_COLOURS
from cje.results.words import number
from cje.vocabulary import Verdict, WeightKind

FACTS = {  # of diagnostics.json, under the names of the weights' summary
    "weights": "weights", "why": "why", "ess": "ess", "sequence_ess": "exact_ess",
    "sequence_mean_weight": "exact_mean_weight", "reach": "reach", "max_share": "max_share",
    "zero_share": "zero_share", "extreme_share": "extreme_share", "status": "status",
}  # fmt: skip
SHOWN = (
    "v_hat", "se", "ci_low", "ci_high", "evidence", "labels", "verdict", "raw_judge",
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
    """A finished run, to look into.

    `run_dir`: a run folder of `cje export` or `cje run`, or a project; without one the project
    here, else the newest run folder. Raises CJEError where there is no run, or its results are not
    those of its settings. All scores, rewards, labels and estimates are on [0, 1].
    """

    def __init__(self, run_dir: Path | str | None = None):
        self.run: Run = open_run(run_dir)

    @property
    def estimates(self) -> pd.DataFrame:
        """Indexed by policy, best first, the refused ones last; see `Run.estimates`."""
        return self.run.estimates

    @property
    def best_policy(self) -> str | None:
        """The first policy that is not refused; None if all are."""
        return self.run.best_policy

    @property
    def best(self) -> list[str]:
        """The policies, not refused, that no other beats beyond chance."""
        return self.run.best

    @property
    def violations(self) -> pd.DataFrame:
        """What the guard rails found, the gravest first and notes, which change no verdict, last:
        `policy`, `code`, `severity`, `message`, `remedy`."""
        return self.run.violations

    @property
    def comparisons(self) -> pd.DataFrame:
        """Every pair of policies that are not refused; see `inference.paired_comparisons`."""
        return self.run.comparisons

    def compare(self, a: str, b: str) -> pd.Series:
        """Policy a minus policy b on the same prompts: `difference`, `se`, `ci_low`, `ci_high`,
        `p_value`, `p_value_corrected` (Holm, over all pairs), `told_apart`. Raises CJEError for an
        unknown policy, or a refused one."""
        check_names((a, b), self.estimates.index)
        for policy in (a, b):
            if policy in self.run.refused:
                raise CJEError(f"{policy!r} is refused, so in no comparison; {self.remedy(policy)}")
        rows = self.comparisons.set_index(["policy_a", "policy_b"])
        if a == b:
            raise CJEError(f"{a!r} is compared with itself; give two policies")
        found = rows.loc[(a, b)] if (a, b) in rows.index else reversed_pair(rows.loc[(b, a)])
        apart = bool(found["p_value_corrected"] < self.run.settings.alpha)
        return pd.concat([found, pd.Series({"told_apart": apart})]).rename(f"{a} - {b}")

    def remedy(self, policy: str) -> str:
        """What would fix the gravest finding about a policy."""
        whose = self.violations["policy"].isin([policy, ""])
        return str(self.violations.loc[whose, "remedy"].iloc[0])

    def answers(self, policy: str | None = None) -> pd.DataFrame:
        """The answers of a policy, logged ones (of the base policy) and fresh ones, with scores:
        `uid`, `policy`, `draw` (-1: logged), `prompt`, `answer`, `judge_raw`, `calibrated_reward`,
        `oracle_score` (the label that estimates use; NaN where there is none), `validation_score`
        (the label that checks them), `judge_reason` and `oracle_reason` (why their scores are what
        they are), `finish_reason`, `completion_tokens`; of logged ones also
        `weight_<policy>`, the importance weights that the estimates used. Without a policy, all of
        them. Raises CJEError for an unknown policy."""
        logged = self.run.logs[list(ANSWER_COLUMNS)]
        fresh = self.run.draws[list(ANSWER_COLUMNS)]
        if policy is not None:
            check_names((policy,), dict.fromkeys([*logged["policy"], *fresh["policy"]]))
            logged, fresh = (frame[frame["policy"] == policy] for frame in (logged, fresh))
        if logged.empty:
            return fresh.reset_index(drop=True)
        weights = self.run.weights.add_prefix("weight_").reset_index()
        return pd.concat([logged.merge(weights, how="left", on="uid"), fresh], ignore_index=True)

    def diagnose_weights(self) -> pd.DataFrame:
        """Indexed by policy: the weights that its estimate used and why, their effective sample
        size `ess` (share of the logs), `exact_ess` and `exact_mean_weight` of its
        log-probabilities and their `reach` (stands, weak, none), `max_share`, `zero_share`,
        `extreme_share`, `status` (GOOD, WARNING, CRITICAL; "not used" where the estimate uses no
        weights), `issues`."""
        facts = self.run.diagnostics.reindex(columns=list(FACTS)).rename(columns=FACTS)
        unused = facts["weights"] == WeightKind.NONE
        facts["status"] = facts["status"].mask(unused, "not used")
        issues = {
            policy: ", ".join(codes) or "none" for policy, codes in self.run.weight_issues.items()
        }
        return facts.assign(issues=pd.Series(issues))

    def plot_weight_diagnostics(self) -> Picture:
        """Effective sample sizes, weights, and who carries them, by policy."""
        return Picture(self.run.figure("weights").read_bytes())

    def plot_calibration(self) -> Picture:
        """Judge against oracle on the labelled logs, with the fitted calibrator."""
        return Picture(self.run.figure("calibration_curve").read_bytes())

    def plot_comparisons(self) -> Picture:
        """The Holm-corrected p-values of all pairs that are not refused."""
        return drawn(draw_comparisons, self.run)

    def plot_differences(self) -> Picture:
        """Every policy against the base policy, with its interval."""
        return drawn(draw_differences, self.run)

    def plot_estimates(self) -> Picture:
        """Every policy's estimate with its interval and verdict, and the oracle's truth."""
        return drawn(draw_estimates, self.run)

    def __repr__(self) -> str:
        return f"ArenaAnalyzer({str(self.run.folder)!r}): {'; '.join(conclusion(self.run))}"

    def _repr_html_(self) -> str:
        """The conclusion and the table of estimates."""
        head = "".join(f"<th>{escape(name)}</th>" for name in ("policy", *SHOWN))
        lines = "<br>".join(escape(line) for line in conclusion(self.run))
        rows = "".join(html_row(policy, row) for policy, row in self.estimates.iterrows())
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        return f"<p><b>{lines}</b></p>{table}"


def drawn(figure: Callable[[Run, Path], None], run: Run) -> Picture:
    """A figure of a run, drawn now."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        figure(run, path)
        return Picture(path.read_bytes())


def reversed_pair(row: pd.Series) -> pd.Series:
    """The comparison the other way round."""
    turned = {
        "difference": -row["difference"],
        "ci_low": -row["ci_high"],
        "ci_high": -row["ci_low"],
    }
    return pd.Series({**row, **turned})


def html_row(policy: str, row: pd.Series) -> str:
    """A policy's row: refused ones struck out, the verdict in its colour."""
    cells = []
    for name in SHOWN:
        if name == "verdict":
            colour = VERDICT_COLOURS[row[name]]
            cells.append(f'<td style="color:{colour};font-weight:bold">{row[name]}</td>')
            continue
        if name in ("evidence", "labels"):
            cells.append(f"<td>{row[name]}</td>")
            continue
        words = number(row[name])
        struck = row["verdict"] == Verdict.REFUSE and name in ("v_hat", "se", "ci_low", "ci_high")
        cells.append(f"<td>{f'<s>{words}</s>' if struck else words}</td>")
    return f"<tr><th>{escape(policy)}</th>{''.join(cells)}</tr>"
