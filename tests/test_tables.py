"""Tables: what goes in comes out, equal rows are equal bytes, and what is wrong is named."""

import json
import math
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cje.data.tables import (
    LOGGED,
    TABLES,
    check_table,
    prompt_uids,
    read_table,
    rounded,
    to_unit,
    write_csv,
    write_metrics,
    write_table,
)
from cje.errors import CJEError

HALF = pd.Series(["fine", "half \ud800"], dtype=object)
in_tmp = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def logs(**changes) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "uid": ["a", "b"],
            "prompt": ["p", "q"],
            "answer": ["", "y"],
            "action": "base",
            "tokens": [["y", "es"], None],
            "token_logprobs": [[-0.5, 0.0], None],
            "sequence_logp": [-0.5, None],
            "logprob_kind": ["sampling", None],
            "finish_reason": ["stop", None],
            "model": None,
            "prompt_tokens": [3, None],
            "completion_tokens": [2, 7],
            "token_ids": [[5, 0], None],
            "reason": None,
        }
        | changes
    )


def scores(**changes) -> pd.DataFrame:
    columns = {
        "uid": ["a", "b"],
        "policy": "base",
        "draw": LOGGED,
        "judge_raw": [0.5, None],
        "reason": [None, "not given"],
    }
    return pd.DataFrame(columns | changes)


def target_logps(**changes) -> pd.DataFrame:
    columns = {
        "uid": ["a", "b", "c"],
        "policy": "clone",
        "token_logprobs": [[-math.inf, -1.0], None, []],
        "sequence_logp": [-math.inf, None, 1e-10],
        "logprob_kind": None,
    }
    return pd.DataFrame(columns | changes)


def test_a_round_trip_keeps_values_nulls_and_dtypes(tmp_path):
    path = tmp_path / "new" / "logs.parquet"
    write_table(logs()[list(reversed(logs().columns))], "logs", path)
    df = read_table(path, "logs")
    assert list(df.columns) == [c.name for c in TABLES["logs"].columns]
    assert df["answer"].tolist() == ["", "y"]
    assert list(df["tokens"][0]) == ["y", "es"]
    assert df["tokens"][1] is None
    assert list(df["token_logprobs"][0]) == [-0.5, 0.0]
    assert df["sequence_logp"].isna().tolist() == [False, True]
    assert df["prompt_tokens"].dtype == df["completion_tokens"].dtype == "Int64"
    pd.testing.assert_frame_equal(df, check_table(logs(), "logs"))
    pd.testing.assert_frame_equal(
        read_table(path, "logs", ["answer", "uid"]), df[["answer", "uid"]]
    )


@pytest.mark.parametrize("null", [None, math.nan, pd.NA])
def test_a_column_of_nulls_may_have_any_dtype(null):
    nulls = {c.name: null for c in TABLES["logs"].columns if c.null}
    df = check_table(logs(**nulls), "logs")
    assert df[list(nulls)].isna().all(axis=None)
    pd.testing.assert_frame_equal(df, check_table(logs(**dict.fromkeys(nulls)), "logs"))


def test_minus_infinity_is_kept_apart_from_null(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(target_logps(), "target_logps", path)
    df = read_table(path, "target_logps")
    assert df["sequence_logp"][0] == -math.inf
    assert math.isnan(df["sequence_logp"][1])
    assert df["token_logprobs"][0][0] == -math.inf


@pytest.mark.parametrize("name", sorted(TABLES))
def test_an_empty_table_round_trips(tmp_path, name):
    path = tmp_path / "t.parquet"
    write_table(pd.DataFrame(columns=[c.name for c in TABLES[name].columns]), name, path)
    assert read_table(path, name).empty
    assert set(TABLES[name].key) <= {c.name for c in TABLES[name].columns}


@in_tmp
@given(
    st.lists(
        st.tuples(st.text(), st.text(), st.none() | st.lists(st.text(max_size=3), max_size=3),
                  st.none() | st.floats(max_value=0, allow_infinity=False)),
        max_size=5,
    )
)  # fmt: skip
def test_any_unicode_round_trips_to_equal_values_and_bytes(tmp_path, rows):
    df = pd.DataFrame(
        {
            "uid": prompt_uids(prompt for prompt, *_ in rows),
            "prompt": [row[0] for row in rows],
            "answer": [row[1] for row in rows],
            "action": ["base"] * len(rows),
            "tokens": [row[2] for row in rows],
            "token_logprobs": None,
            "sequence_logp": [row[3] for row in rows],
            "logprob_kind": None,
            "finish_reason": None,
            "model": None,
            "prompt_tokens": None,
            "completion_tokens": None,
            "token_ids": None,
            "reason": None,
        }
    )
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    write_table(df, "logs", one)
    back = read_table(one, "logs")
    assert back["prompt"].tolist() == [row[0] for row in rows]
    assert back["answer"].tolist() == [row[1] for row in rows]
    assert [None if t is None else list(t) for t in back["tokens"]] == [row[2] for row in rows]
    kept = [None if r[3] is None else rounded(np.array([r[3]]))[0] for r in rows]
    assert [None if math.isnan(x) else x for x in back["sequence_logp"]] == kept
    write_table(back, "logs", two)
    assert one.read_bytes() == two.read_bytes()


def test_equal_rows_are_equal_bytes_however_the_frame_was_made(tmp_path):
    n = 20_000
    uids = [f"u{i}" for i in range(2 * n)]
    values = {"judge_raw": 0.5, "reason": None}
    whole = scores(uid=uids, **values)
    parts = [scores(uid=uids[:n], **values), scores(uid=uids[n:], **values)]
    other = pd.concat(parts).astype({"uid": object, "draw": "int32", "policy": object})
    other = other.assign(note=1).drop(columns="note")
    write_table(whole, "proxy_scores", tmp_path / "one.parquet")
    write_table(other, "proxy_scores", tmp_path / "two.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    assert b"pandas" not in (pq.read_schema(tmp_path / "one.parquet").metadata or {})


@pytest.mark.parametrize(
    ("name", "df", "words"),
    [
        ("proxy_scores", scores().drop(columns="reason"), "column reason: missing"),
        ("proxy_scores", scores(extra=1), "column extra: unknown"),
        ("proxy_scores", scores(uid=["a", "a"]), "row 1: uid='a', policy='base', draw=-1: a"),
        ("proxy_scores", scores(uid=["a", None]), "row 1: uid: null, but a value is required"),
        ("proxy_scores", scores(uid=["", "b"]), "row 0: uid: '' must not be empty"),
        ("proxy_scores", scores(uid=[1, 2]), "column uid: not string"),
        ("proxy_scores", scores(judge_raw=[0.5, 1.5]), "row 1: judge_raw: 1.5 must be from 0 to 1"),
        ("proxy_scores", scores(judge_raw=[-0.1, 0]), "row 0: judge_raw: -0.1 must be"),
        ("proxy_scores", scores(judge_raw=[math.inf, 0]), "row 0: judge_raw: inf must be"),
        ("proxy_scores", scores(judge_raw=["1", "0"]), "column judge_raw: string values, not"),
        ("proxy_scores", scores(judge_raw=[True, False]), "column judge_raw: boolean values"),
        ("proxy_scores", scores(draw=[0.5, 1]), "column draw: not int64"),
        ("proxy_scores", scores(draw=[0, -2]), "row 1: draw: -2 must be -1 (the logged answer) or"),
        ("proxy_scores", scores(draw=[0, None]), "row 1: draw: null, but a value is required"),
        ("logs", logs(sequence_logp=[-math.inf, -1]), "row 0: sequence_logp: -inf must be finite"),
        ("logs", logs(sequence_logp=[-1, 1e-6]), "row 1: sequence_logp: 1e-06 must be"),
        ("logs", logs(finish_reason=["stop", "eos"]), "row 1: finish_reason: 'eos' must be stop"),
        ("logs", logs(token_logprobs=[None, [-1.0, 0.5]]), "row 1: token_logprobs: 0.5 must be"),
        ("logs", logs(token_logprobs=[None, [None]]), "row 1: token_logprobs: a null inside"),
        ("logs", logs(tokens=[None, "yes"]), "column tokens: not list"),
        ("logs", logs(answer=HALF), "column answer: half a surrogate pair (U+D800) at"),
        ("logs", logs(tokens=[None, ["\ud800"]]), "column tokens: half a surrogate pair"),
        ("logs", logs(prompt_tokens=[-1, None]), "row 0: prompt_tokens: -1 must be 0 or more"),
        ("target_logps", target_logps(sequence_logp=[-1, 0, math.inf]), "sequence_logp: inf must"),
        (
            "target_logps",
            target_logps(token_logprobs=[None, [], [math.nan]]),
            "row 2: token_logprobs: a null inside",
        ),
    ],
)
def test_what_breaks_a_rule_is_named_and_nothing_is_written(tmp_path, name, df, words):
    path = tmp_path / "t.parquet"
    with pytest.raises(CJEError) as caught:
        write_table(df, name, path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert not path.exists()


@pytest.mark.parametrize(("prob", "fine"), [(0.0, False), (1e-9, True), (1.0, True), (1.1, False)])
def test_an_inclusion_probability_is_above_zero_and_at_most_one(prob, fine):
    df = pd.DataFrame(
        {"uid": ["a"], "policy": "base", "draw": LOGGED, "oracle_score": 85.0, "oracle_prob": prob}
    )
    if fine:
        assert check_table(df, "oracle_labels")["oracle_prob"][0] == prob
    else:
        with pytest.raises(CJEError, match=r"oracle_prob: .* must be above 0 and at most 1"):
            check_table(df, "oracle_labels")


@pytest.mark.parametrize("name", ["oracle_labels", "validation_labels"])
def test_labels_of_logs_and_of_draws_are_told_apart(name):
    df = pd.DataFrame(
        {"uid": ["a"], "policy": "base", "draw": 0, "oracle_score": 1.0, "oracle_prob": 1.0}
    )
    both = pd.concat([df, df.assign(draw=LOGGED)])
    assert check_table(both, name)["draw"].tolist() == [0, LOGGED]
    with pytest.raises(CJEError, match=r"draw: -2 must be -1 .* or more"):
        check_table(df.assign(draw=-2), name)


def test_an_optional_column_may_be_left_out_of_a_frame_but_not_of_a_file(tmp_path):
    df = pd.DataFrame(
        {"uid": ["a", "b"], "policy": "base", "draw": 0, "oracle_score": 1.0, "oracle_prob": 1.0}
    )
    path = tmp_path / "labels.parquet"
    write_table(df.set_index(pd.Index([7, 9])), "oracle_labels", path)
    assert read_table(path, "oracle_labels")["raters"].isna().all()
    raters = check_table(df.assign(raters=[2, None]), "oracle_labels")["raters"]
    assert (raters.dtype, raters[0]) == ("Int64", 2)
    with pytest.raises(CJEError, match="row 0: raters: 0 must be 1 or more"):
        check_table(df.assign(raters=0), "oracle_labels")
    pq.write_table(pq.read_table(path).drop(["raters"]), path)
    with pytest.raises(CJEError, match="column raters: missing; the stage oracle_label makes"):
        read_table(path, "oracle_labels")


@pytest.mark.parametrize("severity", ["note", "warning", "critical"])
def test_a_violation_is_as_grave_as_the_vocabulary_says(severity):
    row = {"policy": None, "code": "c", "severity": severity, "message": "m", "remedy": "r"}
    assert check_table(pd.DataFrame([row]), "violations")["severity"].tolist() == [severity]
    with pytest.raises(CJEError, match="must be note or warning or critical"):
        check_table(pd.DataFrame([row | {"severity": "grave"}]), "violations")


def arrow_scores(**changes) -> pa.Table:
    columns = {
        "uid": pa.array(["a", "b"]),
        "policy": pa.array(["base", "base"]),
        "draw": pa.array([0, 0]),
        "judge_raw": pa.array([0.5, math.nan]),
        "reason": pa.array([None, "not given"]),
    }
    return pa.table(columns | changes)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (arrow_scores().drop(["reason"]), "column reason: missing; the stage proxy_score makes"),
        (arrow_scores(extra=pa.array([1, 2])), "column extra: unknown"),
        (arrow_scores(draw=pa.array(["0", "0"])), "column draw: type string, not int64"),
        (arrow_scores(draw=pa.array([0.0, 0.0])), "column draw: type double, not int64"),
        (arrow_scores(judge_raw=pa.array([0.5, 7.0])), "row 1: judge_raw: 7.0 must be from 0 to 1"),
        (arrow_scores(uid=pa.array(["a", "a"])), "row 1: uid='a'"),
    ],
)
def test_reading_a_file_of_another_kind(tmp_path, table, words):
    path = tmp_path / "scores.parquet"
    pq.write_table(table, path)
    with pytest.raises(CJEError) as caught:
        read_table(path, "proxy_scores")
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_nan_on_file_is_a_null(tmp_path):
    path = tmp_path / "scores.parquet"
    pq.write_table(arrow_scores(), path)
    assert read_table(path, "proxy_scores")["judge_raw"].isna().tolist() == [False, True]


def test_reading_what_is_missing_or_no_parquet(tmp_path):
    path = tmp_path / "logs.parquet"
    with pytest.raises(CJEError, match=r"no such file; the stage generate_logs .* dvc repro"):
        read_table(path, "logs")
    path.write_text("uid,prompt\n")
    with pytest.raises(CJEError, match="not a readable Parquet file"):
        read_table(path, "logs")
    write_table(logs(), "logs", path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CJEError, match="not a readable Parquet file"):
        read_table(path, "logs")
    with pytest.raises(CJEError, match="not a readable Parquet file"):
        read_table(tmp_path, "logs")


def test_a_million_scores_in_seconds(tmp_path):
    n = 1_000_000
    df = pd.DataFrame(
        {
            "uid": np.char.mod("%016x", np.arange(n)),
            "policy": "clone",
            "draw": 0,
            "judge_raw": np.linspace(0, 1, n).round(9),
            "reason": None,
        }
    )
    start = time.process_time()
    write_table(df, "proxy_scores", tmp_path / "t.parquet")
    back = read_table(tmp_path / "t.parquet", "proxy_scores")
    assert time.process_time() - start < 15  # 1.2 s on an idle core
    assert back["judge_raw"].equals(df["judge_raw"])


def test_uids_are_stable_and_count_repeats():
    assert prompt_uids(["hello"]) == ["a7b6eda801e5347d"]
    first, other, second, third = prompt_uids(["é", "x", "e\u0301", "é"])
    assert second == f"{first}-1"
    assert third == f"{first}-2"
    assert other != first
    with pytest.raises(CJEError, match="prompt 1: half a surrogate pair"):
        prompt_uids(["x", "\udc00"])


@given(st.lists(st.text(max_size=4)))
def test_uids_are_unique(texts):
    uids = prompt_uids(texts)
    assert len(set(uids)) == len(texts)
    assert prompt_uids(texts[:3]) == uids[:3]


@given(st.floats(-100, 100), st.floats(0.1, 100), st.floats(0, 1))
def test_scores_on_any_scale_are_utilities(lo, width, share):
    hi = lo + width
    score = min(lo + share * width, hi)
    assert 0 <= to_unit(score, (lo, hi)) <= 1
    assert to_unit(np.array([lo, hi]), (lo, hi)).tolist() == [0, 1]
    assert to_unit(score, (lo, hi)) == pytest.approx(share, abs=1e-9)


def test_metrics_are_nested_rounded_scalars_in_the_order_given(tmp_path):
    path = tmp_path / "metrics" / "m.json"
    results = {"clone": {"v_hat": np.float64(0.123456789), "ess": None, "n": np.int64(1_234_567_8)}}
    write_metrics({"results": results, "best": "clöne", "ok": np.bool_(True), "z": -1e-11}, path)
    assert path.read_bytes().decode() == (
        '{\n  "results": {\n    "clone": {\n      "v_hat": 0.123457,\n      "n": 12345678\n'
        '    }\n  },\n  "best": "clöne",\n  "ok": true,\n  "z": -1e-11\n}\n'
    )
    write_metrics({"x": -0.0, "y": 1.0}, path)
    assert path.read_text() == '{\n  "x": 0.0,\n  "y": 1.0\n}\n'


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"a": {"b": math.nan}}, "a: b: nan is not a metric"),
        ({"a": np.float64("inf")}, "a: inf is not a metric"),
        ({"a": [1]}, "a: a list is not a metric; write it as a table"),
        ({"a": np.array([1.0])}, "a: a ndarray is not a metric"),
        ({1: 2}, "1: the name of a metric must be text"),
    ],
)
def test_what_is_no_metric_is_refused(tmp_path, metrics, words):
    with pytest.raises(CJEError) as caught:
        write_metrics(metrics, tmp_path / "m.json")
    assert words in str(caught.value)
    assert not (tmp_path / "m.json").exists()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_six_significant_digits_are_kept(tmp_path_factory, x):
    path = tmp_path_factory.getbasetemp() / "m.json"
    write_metrics({"x": x}, path)
    assert json.loads(path.read_text())["x"] == pytest.approx(x, rel=1e-5)


def test_metrics_that_are_nothing_but_rounding_are_zero(tmp_path):
    write_metrics({"a": 3e-17, "b": -2e-16, "c": 1.5e-9}, tmp_path / "m.json")
    assert json.loads((tmp_path / "m.json").read_text()) == {"a": 0.0, "b": 0.0, "c": 1.5e-9}
    write_csv(pd.DataFrame({"a": [3e-17, -2e-16, 1 / 3, None]}), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == 'a\n0\n0\n0.333333\n""\n'


def test_csv_is_plain_and_stable(tmp_path):
    path = tmp_path / "plots" / "p.csv"
    df = pd.DataFrame({"policy": ["a,b", "é"], "x": [1 / 3, None], "n": [1, 2]}, index=[5, 6])
    write_csv(df, path)
    assert path.read_bytes().decode() == 'policy,x,n\n"a,b",0.333333,1\né,,2\n'
