"""The estimates against oracle labels that none of them used."""

from dataclasses import dataclass

from cje.results.answer import distances
from cje.results.run import Run
from cje.results.words import number
from cje.vocabulary import Verdict


@dataclass(frozen=True)
class Truth:
    """`summary` in sentences; a row a policy with labels that its estimate did not use: policy,
    labels, truth, estimate, distance, `inside` or `outside`, raw and calibrated judge, whether
    it is refused."""

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
        summary = ["The truth is itself measured: an interval agrees within the errors of both."]
    summary += distances(run)
    rows = [
        {
            "policy": policy,
            "labels": f"{row['truth_labels']:,.0f}",
            "truth": f"{number(row['oracle_truth'])} ± {number(row['se_truth'])}",
            "estimate": number(row["v_hat"]),
            "distance": number(row["absolute_error"]),
            "covered": "inside" if row["covered"] else "outside",
            "raw_judge": number(row["raw_judge"]),
            "judge": number(row["calibrated_judge"]),
            "refused": row["verdict"] == Verdict.REFUSE,
        }
        for policy, row in known.iterrows()
    ]
    return Truth(summary, rows)
