"""The estimates against the oracle's labels on the policies' own fresh answers."""

from dataclasses import dataclass

import pandas as pd

from cje.report.words import counted, number
from cje.runs import Run


@dataclass(frozen=True)
class Truth:
    """`summary` in sentences; a row a policy with labels: policy, labels, truth, estimate,
    distance, `inside` or `outside`, judge alone, audited estimate, whether it is refused."""

    summary: list[str]
    rows: list[dict[str, object]]


def truth(run: Run) -> Truth:
    """Empty rows where no fresh answer was labelled."""
    table = run.estimates
    known = table[table["oracle_truth"].notna()]
    if known.empty:
        return Truth(["No fresh answer was labelled, so no truth is known to compare with."], [])
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
            "labels": f"{row['labels']:,.0f}",
            "truth": f"{number(row['oracle_truth'])} ± {number(row['se_truth'])}",
            "estimate": number(row["v_hat"]),
            "distance": number(row["absolute_error"]),
            "covered": "inside" if row["covered"] else "outside",
            "judge": number(row["judge_alone"]),
            "audited": f"{number(row['v_audited'])} ± {number(row['se_audited'])}",
            "refused": row["verdict"] == "refuse",
        }
        for policy, row in known.iterrows()
    ]
    return Truth(summary, rows)
