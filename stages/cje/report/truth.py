"""The estimates against oracle labels that none of them used."""

from dataclasses import dataclass

import pandas as pd

from cje.report.words import counted, number
from cje.runs import Run
from cje.vocabulary import Verdict


@dataclass(frozen=True)
class Truth:
    """`summary` in sentences; a row a policy with labels that its estimate did not use: policy,
    labels, truth, estimate, distance, `inside` or `outside`, judge alone, whether it is refused."""

    summary: list[str]
    rows: list[dict[str, object]]


def truth(run: Run) -> Truth:
    """Empty rows where there are no such labels."""
    table = run.estimates
    known = table[table["oracle_truth"].notna()]
    if known.empty:
        return Truth(["There are no labels but those of the estimates, so no truth is known."], [])
    believed = run.kept.loc[run.kept["oracle_truth"].notna()]
    summary = ["Every policy with such labels is refused."]
    if len(believed):
        inside = int(believed["covered"].sum())
        summary = [
            f"{inside} of {counted(len(believed), 'interval')} of policies that are not refused "
            "agree with the truth, which is itself measured, within the errors of both."
        ]
    alone = (believed["judge_alone"] - believed["oracle_truth"]).abs().mean()
    error = believed["absolute_error"].mean()
    if pd.notna(alone):
        summary.append(
            f"Mean distance to the truth: estimate {number(error)}, judge alone {number(alone)}."
        )
    rows = [
        {
            "policy": policy,
            "labels": f"{row['truth_labels']:,.0f}",
            "truth": f"{number(row['oracle_truth'])} ± {number(row['se_truth'])}",
            "estimate": number(row["v_hat"]),
            "distance": number(row["absolute_error"]),
            "covered": "inside" if row["covered"] else "outside",
            "judge": number(row["judge_alone"]),
            "refused": row["verdict"] == Verdict.REFUSE,
        }
        for policy, row in known.iterrows()
    ]
    return Truth(summary, rows)
