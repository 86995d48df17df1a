"""The table of the recorded run, wherever the documentation shows it, has the numbers in git."""

import json
import re

import pytest

from pipeline import ROOT

ROW = re.compile(
    r"^(\S+) .*?([\d.]+) +([\d.]+) to ([\d.]+) +(\S+) .*?([\d.]+) (in|out) +(\w+) *$",
    re.MULTILINE,
)
PAGES = {"README.md": True, "docs/start.md": False, "docs/first-run.md": True}  # whole or a part


def committed() -> dict[str, tuple]:
    """By policy, what the table shows of it."""
    found, checked = (
        json.loads((ROOT / f"metrics/{name}.json").read_text(encoding="utf-8"))["results"]
        for name in ("estimates", "validation")
    )
    return {
        policy: (
            *(f"{row[key]:.3f}" for key in ("v_hat", "ci_low", "ci_high")),
            str(row["labels"]),
            f"{checked[policy]['oracle_truth']:.3f}",
            "in" if checked[policy]["covered"] else "out",
            checked[policy]["verdict"],
        )
        for policy, row in found.items()
    }


@pytest.mark.parametrize("page", PAGES)
def test_the_table_shown_is_that_of_the_committed_run(page):
    rows = ROW.findall((ROOT / page).read_text(encoding="utf-8"))
    policies = {policy for policy, *_ in rows}
    assert policies == set(committed()) if PAGES[page] else policies
    for policy, *shown in rows:
        assert tuple(shown) == committed()[policy], policy
