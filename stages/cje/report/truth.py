"""The estimates against oracle labels that none of them used."""

from dataclasses import dataclass

import pandas as pd

from cje.report.words import counted, number
from cje.runs import Run


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
        return Truth(["There are no labels but those that the estimates use."], [])
    inside = int(known["covered"].sum())
    summary = [
        f"{inside} of {counted(len(known), 'interval')} agree with the truth, which is itself "
        "measured, within the errors of both."
    ]
    alone = (known["judge_alone"] - known["oracle_truth"]).abs().mean()
    error = known["absolute_error"].mean()
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
            "refused": row["verdict"] == "refuse",
        }
        for policy, row in known.iterrows()
    ]
    return Truth(summary, rows)
