"""Estimates on parts of the prompts, and the metadata that they are made by."""

import json

import numpy as np
import pandas as pd
import pytest

import cje
from cje.data.metadata import metadata_columns, metadata_of
from cje.data.tables import read_table, write_table
from cje.results.report.slices import parts, slices
from cje.results.run import Run
from cje.results.view import RunView
from cje.settings import load_settings
from cje.stats.slices import part_estimate
from reported import write_run


def test_short_values_of_other_columns_are_metadata():
    row = {
        "prompt": "p", "topic": "code", "level": 3, "sure": True, "share": 0.5, "whole": 2.0,
        "long": "x" * 300, "list": [1], "none": None, "nan": float("nan"), "half": "a\ud800",
        "metadata": {"prompt_id": 7, "region": "north", "deep": {"a": 1}},
    }  # fmt: skip
    found = json.loads(metadata_of(row, {"prompt", "prompt_id"}))
    assert found == {
        "topic": "code", "level": 3, "sure": True, "share": 0.5, "whole": 2, "half": "a?",
        "region": "north",
    }  # fmt: skip
    assert metadata_of({"prompt": "p"}, {"prompt"}) is None
    table = metadata_columns([json.dumps({"a": 1}), None, json.dumps({"b": "x", "a": 2})])
    assert list(table) == ["a", "b"] and table["a"].tolist() == [1, None, 2]


def test_parts_are_values_groups_of_numbers_or_the_most_frequent():
    few = parts(pd.Series(["b", "a", "b", None, True], dtype=object))
    assert list(few.cat.categories) == ["b", "a", "yes", "not given"]
    numbers = parts(pd.Series([*range(100), None], dtype=object))
    assert list(numbers.cat.categories)[:2] == ["0 to 24", "25 to 49"]
    assert numbers.value_counts().to_dict()["not given"] == 1 and numbers.nunique() == 5
    many = parts(pd.Series([f"t{min(k, 60)}" for k in range(100)], dtype=object))
    assert many.cat.categories[0] == "t60" and many.cat.categories[-1] == "all others"
    assert len(many.cat.categories) == 12 and many.attrs["values"] == 61


def test_an_interval_of_a_part_holds_its_truth():
    covered = []
    for seed in range(40):
        random = np.random.default_rng(seed)
        kind = random.integers(0, 4, 400)
        hard = random.normal(0.35 + 0.1 * kind, 0.15, 400)
        base, other = ((hard + random.normal(0, 0.15, 400)).clip(0, 1) for _ in range(2))
        uid = np.array([f"u{k:03d}" for k in range(400)])
        seen = random.permutation(400)
        logs = pd.DataFrame(
            {"uid": uid, "judge_raw": (base + random.normal(0, 0.2, 400)).clip(0, 1)}
        )
        draws = pd.DataFrame(
            {"uid": uid, "policy": "other", "draw": 0,
             "judge_raw": (0.8 * other + random.normal(0.1, 0.2, 400)).clip(0, 1)}
        )  # fmt: skip
        logs["oracle_score"] = np.where(np.isin(np.arange(400), seen[:100]), base, np.nan)
        draws["oracle_score"] = np.where(np.isin(np.arange(400), seen[:80]), other, np.nan)
        found = cje.analyze(logs, draws, seed=seed)
        whole = found.influence["other"].reindex(uid).to_numpy()
        assert whole.mean() == pytest.approx(found.estimates.loc["other", "v_hat"])
        labelled = draws["oracle_score"].notna().to_numpy()
        for part in range(4):
            inside = kind == part
            one = part_estimate(whole, labelled, np.arange(400), inside, alpha=0.05)
            assert one.labels == (inside & labelled).sum()
            covered += [one.low <= 0.35 + 0.1 * part <= one.high] if one.value is not None else []
    assert len(covered) > 140 and 0.9 <= np.mean(covered) <= 1


def test_few_labels_give_no_number():
    labelled = np.arange(100) < 9
    one = part_estimate(
        np.full(100, 0.5), labelled, np.arange(100), np.arange(100) < 50, alpha=0.05
    )
    assert (one.value, one.low, one.high, one.labels, one.prompts) == (None, None, None, 9, 50)
    same = np.zeros(100, dtype=int)  # one cluster, however many labels
    assert part_estimate(np.full(100, 0.5), labelled | True, same, labelled, alpha=0.05).labels == 1


def test_the_report_slices_by_every_column(tmp_path):
    folder = write_run(tmp_path / "run", prompts=200)
    prompts = read_table(folder / "data/prompts.parquet", "prompts")
    rows = [{"topic": "ab"[k % 2], "id": f"i{k}", "same": 1} for k in range(200)]
    prompts["metadata"] = [json.dumps(row) for row in rows]
    write_table(prompts, "prompts", folder / "data/prompts.parquet")
    found = slices(RunView(Run(folder, load_settings(folder / "params.yaml"))))
    assert [one.column for one in found.columns] == ["topic", "id"]  # what never differs is none
    topic, each = found.columns
    assert [value for value, _, _ in topic.rows] == ["a", "b"]
    assert "200 values, of which none has 10 labels of a policy" in each.why and not each.rows
    cells = 2 * len(found.policies)
    assert f"These are {cells} intervals" in found.looks and "strange" not in found.policies
