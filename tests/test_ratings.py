"""Oracle labels in users' files: on logs, on draws, in files of their own, by one rater or more."""

import random as chance

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cje.data.readers.inputs import read_inputs
from cje.data.tables import LOGGED
from user_rows import chosen, draw, log, read, refusal, without, write

COLUMNS = ["uid", "policy", "draw", "oracle_score", "raters"]
THREE = ["p1", "p2", "p3"]


def rows_of(table: pd.DataFrame) -> list[list]:
    return table[COLUMNS].values.tolist()


def test_labels_on_draws_are_the_policys_own_and_validation_checks_them(tmp_path):
    draws = [draw("p1", oracle_score=0.5), draw("p2"), draw("p3", oracle_score=None)]
    labels = [{"uid": "p1", "oracle_score": 0.5}, {"uid": "p3", "oracle_score": 0.25}]
    got = read(tmp_path, [log("p1", oracle_score=1), log("p2"), log("p3")], draws, labels)
    assert rows_of(got.oracle_labels) == [["p1", "base", LOGGED, 1, 1], ["p1", "clone", 0, 0.5, 1]]
    assert rows_of(got.validation_labels) == [["p3", "clone", 0, 0.25, 1]]  # p1's counts once
    assert got.oracle_labels["oracle_prob"].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert got.validation_labels["oracle_prob"].tolist() == pytest.approx([1 / 3])
    labels = ("oracle_labels", "draw_labels", "validation_labels")
    assert [got.summary[name] for name in labels] == [1, 1, 1]


def test_validation_labels_are_own_ones_where_the_draws_have_none(tmp_path):
    draws = [draw(draw=0), draw(draw=1, answer="Second."), draw("p2")]
    labels = [
        {"prompt_id": "p1", "draw_idx": 1, "response": "Second.", "oracle_label": 0.75},
        {"prompt": "Prompt p2?", "oracle_score": 0.5},
    ]
    write(tmp_path / "draws" / "other.jsonl", [draw("p1", oracle_score=0.5), draw("p2")])
    write(tmp_path / "validation" / "other.jsonl", [{"uid": "p2", "oracle_score": 1}])
    got = read(tmp_path, [log(), log("p2")], draws, labels)
    assert rows_of(got.oracle_labels) == [
        ["p1", "clone", 1, 0.75, 1], ["p2", "clone", 0, 0.5, 1], ["p1", "other", 0, 0.5, 1],
    ]  # fmt: skip
    assert rows_of(got.validation_labels) == [["p2", "other", 0, 1, 1]]
    assert got.oracle_labels["oracle_prob"].tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 2])


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ({"uid": "p1", "draw": 1, "oracle_score": 1}, "draw: this policy has no draw 1 of uid"),
        ({"uid": "p9", "oracle_score": 1}, 'uid: "p9" is in no good row of the logs'),
        ({"uid": "p1", "response": "x", "oracle_score": 1}, "response: differs from the draw's, "),
        ({"uid": "p1", "oracle_label": 1}, "oracle_label: 1, but 0.5 on the draw"),
        ({"uid": "p1", "oracle_label": [0.5, 0.75]}, "oracle_label: 0.625, but 0.5 on the draw"),
        ({"uid": "p1"}, "oracle_score: missing: a validation row is a label"),
        ({"uid": "p2", "oracle_score": 1}, "oracle_score: the answer failed, "),
        ({"oracle_score": 1}, "uid: missing; give uid, prompt_id, metadata.prompt_id or prompt"),
    ],
)
def test_a_validation_row_that_fits_no_draw(tmp_path, label, words):
    draws = [draw(oracle_score=0.5), {"uid": "p2", "answer": None}]
    message = refusal(tmp_path, logs=[log(), log("p2")], draws=draws, labels=[label])
    assert f"validation/clone.jsonl:1: {words}" in message


def test_a_validation_row_without_a_score_is_no_label(tmp_path):
    labels = [{"uid": "p1", "oracle_score": None}, {"uid": "p2", "oracle_score": 1}]
    got = read(tmp_path, [log(), log("p2")], [draw(), draw("p2")], labels)
    assert rows_of(got.oracle_labels) == [["p2", "clone", 0, 1, 1]]


def test_inclusion_probabilities_are_given_for_all_labels_of_a_kind_or_none(tmp_path):
    logs = [log(oracle_score=1, oracle_prob=0.1), log("p2", oracle_score=1)]
    words = "logs.jsonl:2: oracle_prob: missing, though other labelled rows have it"
    assert words in refusal(tmp_path, logs=logs)
    logs = [logs[0], log("p2", oracle_score=1, oracle_prob=0.2), log("p3")]
    assert read(tmp_path, logs).oracle_labels["oracle_prob"].tolist() == [0.1, 0.2]
    draws = [draw(oracle_score=1, oracle_prob=0.5), draw("p2")]
    labels = [{"uid": "p2", "oracle_score": 1}]
    got = read(tmp_path, logs, draws, labels)
    assert got.oracle_labels["oracle_prob"].tolist() == [0.1, 0.2, 0.5]
    assert got.validation_labels["oracle_prob"].tolist() == [0.5]
    labels.append({"uid": "p1", "oracle_score": 1, "oracle_prob": 0.25})
    words = "validation/clone.jsonl:1: oracle_prob: missing"
    assert words in refusal(tmp_path, logs=logs, draws=draws, labels=labels)


def test_a_list_of_scores_is_one_label(tmp_path):
    logs = [log("p1", oracle_score=[0, 1, 1, None]), log("p2", oracle_score=[]),
            log("p3", oracle_score=[None, float("nan")])]  # fmt: skip
    draws = [draw("p1", oracle_score=["0.25", True])]
    got = read(tmp_path, logs, draws, [{"uid": "p1", "oracle_score": [0.625]}])
    assert rows_of(got.oracle_labels) == [
        ["p1", "base", LOGGED, pytest.approx(2 / 3), 3], ["p1", "clone", 0, 0.625, 2],
    ]  # fmt: skip
    words = "logs.jsonl:1: oracle_score: 7 is outside oracle_range"
    assert words in refusal(tmp_path, logs=[log(oracle_score=[0.5, 7])])


def test_a_row_for_each_rater(tmp_path):
    logs = [
        log("p1", oracle_score=0.25), log("p2"), log("p1", oracle_score=0.75, judge_score=None),
        log("p3", oracle_score=None), log("p3", oracle_score=None),
    ]  # fmt: skip
    draws = [draw("p1", draw=0, judge_score=None), draw("p2", draw=3),
             draw("p1", draw=0, oracle_score=1), draw("p1", draw=0, oracle_score=1)]  # fmt: skip
    labels = [{"uid": "p2", "oracle_score": 0.5}, {"uid": "p2", "oracle_score": 1}]
    got = read(tmp_path, logs, draws, labels)
    assert got.logs["uid"].tolist() == THREE
    assert [note.partition(" beside")[0] for note in got.notes] == [
        "answers of base: 1 row with nothing new"  # that of p3, which nobody rated
    ]
    assert rows_of(got.oracle_labels) == [
        ["p1", "base", LOGGED, 0.5, 2], ["p1", "clone", 0, 1, 2],
    ]  # fmt: skip
    assert rows_of(got.validation_labels) == [["p2", "clone", 3, 0.75, 2]]
    assert got.proxy_scores["judge_raw"].tolist() == [0.5, 0.5, 0.5, 0.25, 0.25]


def test_without_draws_numbers_one_answer_to_each_prompt_may_be_rated(tmp_path):
    logs = [log(uid) for uid in THREE]
    ratings = [draw("p1", oracle_score=0.25), draw("p2"), draw("p1", oracle_score=0.75)]
    got = read(tmp_path, logs, ratings)
    assert got.draws[["uid", "draw"]].values.tolist() == [["p1", 0], ["p2", 0]]
    assert rows_of(got.oracle_labels) == [["p1", "clone", 0, 0.5, 2]]
    by_text = [without(row, "uid") for row in ratings]
    assert rows_of(read(tmp_path, logs, by_text).oracle_labels) == rows_of(got.oracle_labels)
    several = [*ratings, draw("p2", answer="Another.")]  # a policy with several draws
    got = read(tmp_path, logs, several)
    assert got.draws["draw"].tolist() == [0, 0, 1, 1]
    assert rows_of(got.oracle_labels) == [["p1", "clone", 0, 0.25, 1], ["p1", "clone", 1, 0.75, 1]]
    same = [row | {"oracle_score": 0.25} for row in ratings]  # a sure oracle of equal draws
    assert read(tmp_path, logs, same).draws["draw"].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (log(answer="Other.", oracle_score=1), 'uid: "p1" is on line 1 already, with another answ'),
        (log(judge_score=0.75, oracle_score=1), "judge_score: 0.75, but 0.5 on line 1, for the sa"),
        (log(prompt="Other?", oracle_score=1), 'prompt: "Other?", but "Prompt p1?" on line 1'),
        (log(sequence_logp=-3, oracle_score=1), "sequence_logp: -3.0, but -2.0 on line 1"),
        (log(oracle_prob=0.25, oracle_score=1), "oracle_prob: 0.25, but 0.5 on line 1"),
    ],
)
def test_rows_about_one_answer_agree(tmp_path, row, words):
    logs = [log(oracle_score=0.5, oracle_prob=0.5), row]
    assert f"logs.jsonl:2: {words}" in refusal(tmp_path, logs=logs)
    got = read(tmp_path, logs, on_bad_row="skip")
    assert rows_of(got.oracle_labels) == [["p1", "base", LOGGED, 0.5, 1]]


def test_parquet_holds_lists_of_scores(tmp_path):
    (tmp_path / "draws").mkdir()
    pd.DataFrame([log("p1", oracle_score=[0.5, 1.0]), log("p2")]).to_parquet(
        tmp_path / "logs.parquet"
    )
    pd.DataFrame([draw("p1")]).to_parquet(tmp_path / "draws" / "clone.parquet")
    labels = read_inputs(tmp_path, chosen()).oracle_labels
    assert rows_of(labels) == [["p1", "base", LOGGED, 0.75, 2]]


unit = st.floats(0, 1)
ratings_by_uid = st.dictionaries(st.sampled_from(THREE), st.lists(unit, max_size=4), min_size=1)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ratings_by_uid, st.randoms(use_true_random=False))
@example({"p1": [2.82936805260716e-300]}, chance.Random(0))
def test_raters_in_lists_and_in_rows_are_the_same(tmp_path, ratings, random):
    lists = [log(uid, oracle_score=given) for uid, given in ratings.items()]
    rows = [log(uid, oracle_score=x) for uid, given in ratings.items() for x in given or [None]]
    random.shuffle(rows)
    fresh = [draw(next(iter(ratings)))]
    one = read(tmp_path, lists, fresh).oracle_labels
    two = read(tmp_path, rows, fresh).oracle_labels
    assert sorted(rows_of(one)) == sorted(rows_of(two))
    for uid, _, _, score, raters in rows_of(one):
        assert raters == len(ratings[uid])
        near = 1e-9 * max(ratings[uid])  # tables keep ten digits
        assert min(ratings[uid]) - near <= score <= max(ratings[uid]) + near
