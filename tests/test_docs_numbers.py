"""The table of the recorded run, wherever the documentation shows it, has the numbers in git."""

import re

import pytest

from cje.results.opening import open_run
from cje.results.words import VERDICTS
from pipeline import ROOT, run

ROW = re.compile(
    r"^(\S+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+) to ([\d.]+) +([\d.]+) (in|out) +(\w+) *$",
    re.MULTILINE,
)
SHOWN = ("raw_judge", "calibrated_judge", "v_hat", "ci_low", "ci_high", "oracle_truth")
PAGES = {"README.md": True, "docs/start.md": False, "docs/first-run.md": True}  # whole or a part


@pytest.fixture(scope="module")
def committed(tmp_path_factory) -> dict[str, tuple]:
    """By policy, what the table shows of it: of the recorded run, replayed in a clone."""
    clone = tmp_path_factory.mktemp("recorded") / "cje"
    run("git", "clone", "-q", str(ROOT), str(clone), cwd=ROOT)
    run("dvc", "repro", "-q", cwd=clone)
    return {
        policy: (
            *(f"{row[key]:.3f}" for key in SHOWN),
            "in" if row["covered"] else "out",
            VERDICTS[row["verdict"]],
        )
        for policy, row in open_run(clone).estimates.iterrows()
    }


@pytest.mark.parametrize("page", PAGES)
def test_the_table_shown_is_that_of_the_committed_run(page, committed):
    rows = ROW.findall((ROOT / page).read_text(encoding="utf-8"))
    policies = {policy for policy, *_ in rows}
    assert policies == set(committed) if PAGES[page] else policies
    for policy, *shown in rows:
        assert tuple(shown) == committed[policy], policy
