"""docs/guard-rails.md has a section for every code that the library emits, with its real words."""

import ast
import re

import numpy as np
import pandas as pd
import pytest

from cje.diagnostics import (
    THRESHOLDS,
    oracle_violations,
    policy_violations,
    reply_violations,
    rescored_violations,
)
from cje.report.rails import MEANINGS
from cje.samples import build_samples
from cje.validation import validate
from pipeline import ROOT

PAGE = (ROOT / "docs/guard-rails.md").read_text(encoding="utf-8")
PARTS = re.split(r"^## (.*)$", PAGE, flags=re.MULTILINE)
SECTIONS = dict(zip(PARTS[1::2], PARTS[2::2], strict=True))
SOUND = {
    "weights": "sequence", "ess": 0.9, "sequence_ess": 0.9, "covariates": True, "spread": 0.2,
    "extreme_share": 0.0, "sequence_mean_weight": 1.0, "sequence_mean_weight_z": 0.0,
    "sequence_zero_share": 0.0, "identical": False, "log_ratio_sd": 0.3, "out_of_range": 0.0,
    "estimator": "dr-cpo", "transport_z": 0.0, "transport": 0.0, "unscored_share": 0.0,
    "raw_logprobs": False, "audit_z": None, "draws": 100,
}  # fmt: skip


def emitted() -> set[str]:
    """Every code in the library's source: of Violation(...), of `add`, and of the tuples that
    `reply_violations` goes through."""
    codes = set()
    for path in (ROOT / "stages").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                place = {"Violation": 1, "add": 0}.get(node.func.id)
                if place is not None and len(node.args) > place:
                    code = node.args[place]
                    codes |= {code.value} if isinstance(code, ast.Constant) else set()
            elif isinstance(node, ast.FunctionDef) and node.name == "reply_violations":
                rows = [n for n in ast.walk(node) if isinstance(n, ast.Tuple)]
                first = [n.elts[0] for n in rows if n.elts]
                found = {n.value for n in first if isinstance(n, ast.Constant)}
                codes |= {code for code in found if isinstance(code, str)}
    return codes


def provoked() -> list:
    """A violation of every kind."""

    def facts(**changed):
        return policy_violations("concise", SOUND | changed, THRESHOLDS)

    rescored = pd.DataFrame(
        {"rescored_logp": [-20.0, -19.0], "sequence_logp": [-20.5, -19.2], "largest_gap": 0.4}
    )
    return [
        *oracle_violations({"labels": 30, "spearman": 0.21}, THRESHOLDS),
        *oracle_violations({"labels": 5, "spearman": None}, THRESHOLDS),
        *facts(ess=0.12), *facts(ess=0.03, weights="marginal"),
        *facts(weights="marginal", sequence_ess=0.06),
        *facts(extreme_share=0.04), *facts(sequence_mean_weight=1.62, sequence_mean_weight_z=4.1),
        *facts(sequence_mean_weight=0.73, sequence_mean_weight_z=-5.0),
        *facts(sequence_mean_weight=0.09, sequence_mean_weight_z=-80.0),
        *facts(sequence_zero_share=0.93), *facts(sequence_zero_share=1.0),
        *facts(identical=True), *facts(identical=True, weights="marginal"),
        *rescored_violations(rescored, {"concise": "sequence"}),
        *facts(out_of_range=0.11), *facts(estimator="direct", transport_z=4.2, transport=-0.041),
        *facts(audit_z=5.3), *facts(unscored_share=1.0), *facts(unscored_share=0.04),
        *facts(raw_logprobs=True), *facts(draws=0),
        *reply_violations("concise", 0.31, 0.04, 0.05, THRESHOLDS),
        *validation_violations(),
    ]  # fmt: skip


def validation_violations() -> list:
    """An estimate that its own draws contradict."""
    rng = np.random.default_rng(0)
    uid = [f"{i}" for i in range(60)]
    score = rng.uniform(0.3, 0.6, 60)
    rows = {"uid": uid, "judge_raw": score, "calibrated_reward": score, "fold": 0}
    rows |= {"oracle_prob": 1.0, "oracle_score": score}
    logs = pd.DataFrame(rows).assign(sequence_logp=np.nan)
    draws = pd.DataFrame(rows).assign(policy="concise", draw=0)
    nothing = pd.DataFrame({"uid": [], "policy": [], "sequence_logp": []})
    samples = build_samples(logs, nothing, draws, 5, 42)
    estimates = pd.DataFrame({"v_hat": [0.9], "se": [0.01]}, index=["concise"])
    return validate(estimates, samples.logs, samples.draws, 0.05, 0.8).violations


PROVOKED = provoked()


def test_the_page_has_every_code_that_is_emitted_and_no_other():
    assert set(SECTIONS) == emitted() == {v.code for v in PROVOKED}
    assert set(re.findall(r"^\| \[(\w+)\]\(#\w+\) \|", PAGE, re.MULTILINE)) == emitted()


def test_the_report_says_what_every_code_means():
    assert set(MEANINGS) == emitted()


@pytest.mark.parametrize("code", sorted({v.code for v in PROVOKED}))
def test_a_section_quotes_what_the_program_says(code):
    section = SECTIONS[code]
    quotes = {line.removeprefix("> ") for line in section.splitlines() if line.startswith("> ")}
    words = {f"{v.severity}: {v.message}" for v in PROVOKED if v.code == code}
    assert quotes and quotes <= words, words


@pytest.mark.parametrize("code", sorted({v.code for v in PROVOKED}))
def test_the_table_has_every_severity(code):
    row = re.search(rf"^\| \[{code}\].* \| (.*) \|$", PAGE, re.MULTILINE)[1]
    assert {v.severity for v in PROVOKED if v.code == code} == set(re.findall(r"\w{7,}", row))


def test_every_threshold_is_said():
    assert [name for name in THRESHOLDS if f"`{name}`" not in PAGE] == []
