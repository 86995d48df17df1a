"""docs/guard-rails.md has a section for every guard rail, with its real words."""

import re
from dataclasses import replace

import pytest

from cje.stats.facts import PolicyDiagnostics, PolicyValidation, RunDiagnostics, RunValidation
from cje.stats.guardrails import Violation, find, verdict
from cje.stats.rails import RAILS
from cje.thresholds import THRESHOLDS
from cje.vocabulary import EstimatorName, Evidence, Reach, Severity, Status, Verdict, WeightKind
from pipeline import ROOT

PAGE = (ROOT / "docs/guard-rails.md").read_text(encoding="utf-8")
PARTS = re.split(r"^## (.*)$", PAGE, flags=re.MULTILINE)
SECTIONS = dict(zip(PARTS[1::2], PARTS[2::2], strict=True))
ROWS = dict(re.findall(r"^\| \[(\w+)\]\(#\w+\) \| (.*) \|$", PAGE, re.MULTILINE))
CODES = [rail.code for rail in RAILS]
SOUND = PolicyDiagnostics(
    policy="concise", is_base=False, logged=False, widened=False, estimator=EstimatorName.DR_CPO,
    method=EstimatorName.DR_CPO,
    evidence=Evidence.WEIGHTS, value=0.5, half_width=0.03, spread=0.2, weights=WeightKind.SEQUENCE,
    why="", status=Status.GOOD, ess=0.9, mean_weight=1.0, mean_weight_z=0.0, max_share=0.01,
    tail_index=0.1, zero_share=0.0, extreme_share=0.0, sequence_ess=0.9, sequence_mean_weight=1.0,
    sequence_mean_weight_z=0.0, sequence_zero_share=0.0, sequence_tail_index=0.1,
    sequence_extreme_share=0.0, residual_tail_index=0.1, residual_bend=0.0, reach=Reach.STANDS,
    log_ratio_sd=0.3, unscored_share=0.0, raw_logprobs=False, identical=False, labels=0,
    effective_labels=100.0, label_skew=0.0, power=None, label_values=0, spearman=0.6,
    out_of_range=0.0, labels_z=None, transport=0.0, transport_z=0.0, gap_z=None, draws=100,
    prompts_with_draws=100,
)  # fmt: skip
LABELLED = replace(
    SOUND, evidence=Evidence.LABELS, labels=100, power=1.0, label_values=9, weights=WeightKind.NONE
)


def of_weights(**changes) -> list[Violation]:
    """What is found of a policy that stands on exact weights."""
    return find(replace(SOUND, **changes), THRESHOLDS)


def of_labels(**changes) -> list[Violation]:
    """What is found of a policy that stands on its own labels."""
    return find(replace(LABELLED, **changes), THRESHOLDS)


def provoked() -> list[Violation]:
    """A violation of every kind, with all of its severities."""
    nothing = {"evidence": Evidence.NONE}
    direct = {
        "method": EstimatorName.DIRECT,
        "widened": True,
        "transport": -0.041,
        "transport_z": -4.2,
    }
    found = [
        of_weights(**nothing, sequence_ess=None),
        of_weights(**nothing, raw_logprobs=True),
        of_weights(**nothing, sequence_ess=0.03),
        of_weights(**nothing, effective_labels=14.2),
        of_weights(**nothing, is_base=True, labels=5),
        of_labels(labels=20), of_labels(labels=5), of_weights(effective_labels=23.0),
        of_labels(half_width=0.2), of_labels(half_width=0.3),
        of_labels(label_skew=0.42), of_labels(value=0.013),
        of_weights(spearman=0.21), of_labels(spearman=0.21), of_weights(spearman=None),
        of_weights(sequence_ess=0.12), of_weights(sequence_ess=0.03),
        of_weights(residual_tail_index=0.83), of_weights(residual_bend=-2.6),
        of_weights(sequence_extreme_share=0.04),
        of_weights(sequence_mean_weight=1.62, sequence_mean_weight_z=4.1),
        of_weights(sequence_mean_weight=0.73, sequence_mean_weight_z=-5.0),
        of_weights(sequence_mean_weight=0.09, sequence_mean_weight_z=-80.0),
        of_weights(sequence_zero_share=0.93), of_weights(sequence_zero_share=1.0),
        of_weights(identical=True), of_labels(identical=True), of_weights(rescored_spread=0.38),
        of_weights(out_of_range=0.11), of_labels(out_of_range=0.11),
        of_labels(**direct), of_labels(**direct | {"method": EstimatorName.DR_CPO}),
        of_labels(gap_z=5.3), of_weights(unscored_share=0.04),
        of_weights(raw_logprobs=True), of_labels(raw_logprobs=True), of_weights(draws=0),
        of_labels(labels_z=4.4), of_labels(missing=0.04), of_labels(left_out=0.06),
        of_labels(base_prompts=300, shared_prompts=150, prompts_z=-12.1),
        of_labels(base_prompts=300, shared_prompts=0),
        of_labels(base_prompts=300, shared_prompts=270),
        of_labels(skipped=0.125), of_labels(passed_over=0.4),
        of_labels(truncated=0.31), of_labels(unparsed=0.05),
        of_labels(self_preference="oracle"), of_labels(self_preference="judge"),
        find(RunDiagnostics(span=0.04, at_the_ends=False, all_labels=300), THRESHOLDS),
        find(RunDiagnostics(0.9, False, 300, 1000, 245), THRESHOLDS),
        find(RunDiagnostics(0.9, False, 300, 1000, 600), THRESHOLDS),
        find(PolicyValidation("concise", Evidence.WEIGHTS, 4.8, "label them"), THRESHOLDS),
        find(PolicyValidation("concise", Evidence.LABELS, 4.8, "label them"), THRESHOLDS),
        find(RunValidation(covered=4, validated=6), THRESHOLDS),
    ]  # fmt: skip
    return [violation for violations in found for violation in violations]


PROVOKED = provoked()


def test_what_nothing_is_wrong_with_is_reliable():
    for sound in (SOUND, LABELLED):
        assert find(sound, THRESHOLDS) == []
    assert verdict("concise", []) is Verdict.RELIABLE


def test_the_page_has_every_guard_rail_in_their_order_and_no_other():
    assert list(SECTIONS) == list(ROWS) == CODES
    assert {v.code for v in PROVOKED} == set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_a_section_quotes_what_the_program_says(code):
    section = SECTIONS[code]
    quotes = {line.removeprefix("> ") for line in section.splitlines() if line.startswith("> ")}
    words = {f"{v.severity}: {v.message}" for v in PROVOKED if v.code == code}
    assert quotes and quotes <= words, words


@pytest.mark.parametrize("code", CODES)
def test_the_table_has_every_severity(code):
    said = ROWS[code].rpartition(" | ")[2]
    found = {str(v.severity) for v in PROVOKED if v.code == code}
    assert found == set(re.findall("|".join(Severity), said))


@pytest.mark.parametrize("rail", RAILS, ids=CODES)
def test_the_table_has_every_threshold_with_its_default(rail):
    for name in rail.thresholds:
        default = THRESHOLDS[name]
        shown = rf"`{name}` \(({default:g}|{100 * default:g} %)\)"
        assert re.search(shown, ROWS[rail.code]), name


def test_every_threshold_is_said():
    assert [name for name in THRESHOLDS if f"`{name}`" not in PAGE] == []
