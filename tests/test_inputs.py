"""Users' own files: what is read, what is refused, and in which words."""

import json
import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arena import arena_sample, copy_arena_sample
from cje.data.readers.inputs import read_inputs
from cje.data.tables import LOGGED, TABLES, check_table, prompt_uids
from cje.errors import CJEError
from user_rows import chosen, draw, log, read, refusal, without, write

FRAMES = [
    "prompts",
    "logs",
    "draws",
    "target_logps",
    "proxy_scores",
    "oracle_labels",
    "validation_labels",
]


DRAWS_OF_BASE = (
    "draws of base: taken as more answers of the base policy, beside the logged ones; rename the "
    "file if another policy gave them"
)


def test_the_arena_sample_as_it_is(tmp_path):
    got = read_inputs(copy_arena_sample(tmp_path / "inputs"), chosen())
    assert got.targets == ["base", "clone", "parallel_universe_prompt", "unhelpful"]
    assert (got.bad_rows.empty, got.notes) == (True, [DRAWS_OF_BASE])
    for name in FRAMES:
        pd.testing.assert_frame_equal(getattr(got, name), check_table(getattr(got, name), name))
    raw = [json.loads(x) for x in (arena_sample() / "logged_data.jsonl").open(encoding="utf-8")]
    assert got.logs["uid"].tolist() == [row["metadata"]["prompt_id"] for row in raw]
    assert got.logs["answer"].tolist() == [row["response"] for row in raw]
    logged = [row["base_policy_logprob"] for row in raw]
    assert got.logs["sequence_logp"].tolist() == pytest.approx(logged, rel=1e-9)
    assert set(got.logs["action"]) == {"base"}

    logps = got.target_logps.set_index(["policy", "uid"])["sequence_logp"]
    for policy in ("clone", "parallel_universe_prompt", "unhelpful"):
        expected = [row["target_policy_logprobs"][policy] for row in raw]
        assert logps[policy].tolist() == pytest.approx(expected, rel=1e-9)
    assert logps["base"].tolist() == got.logs["sequence_logp"].tolist()

    judged = got.proxy_scores[got.proxy_scores["draw"] == LOGGED]
    assert judged["judge_raw"].tolist() == pytest.approx([row["judge_score"] for row in raw])
    assert len(got.proxy_scores) == 5000
    assert len(got.draws) == 4000
    labelled = [row["oracle_label"] for row in raw if "oracle_label" in row]
    on_logs = got.oracle_labels["draw"] == LOGGED
    assert got.oracle_labels[on_logs]["oracle_score"].tolist() == pytest.approx(labelled)
    assert got.oracle_labels[on_logs]["oracle_prob"].unique().tolist() == [0.48]
    by_policy = got.oracle_labels[~on_logs].groupby("policy")["oracle_prob"]
    assert by_policy.size().to_dict() == {"base": 480, "parallel_universe_prompt": 50}
    assert by_policy.first().to_dict() == {"base": 0.48, "parallel_universe_prompt": 0.05}
    assert set(got.oracle_labels["raters"]) == {1}
    labels = ("oracle_labels", "draw_labels", "validation_labels")
    assert [got.summary[name] for name in labels] == [480, 530, 0]


def test_the_arena_sample_on_the_default_scales_raises_a_doubt(tmp_path):
    changes = {"judge_range": [0, 10], "oracle_range": [0, 10]}
    got = read_inputs(copy_arena_sample(tmp_path / "inputs"), chosen(**changes))
    assert got.notes == [
        "no score is above 1 on judge_range [0, 10]: is that their scale?",
        "no score is above 1 on oracle_range [0, 10]: is that their scale?",
        DRAWS_OF_BASE,
    ]


def test_scores_are_scaled_and_labels_are_kept_as_given(tmp_path):
    logs = [log(judge_score=75, oracle_score=4), log("p2", judge_score=None)]
    got = read(tmp_path, logs, judge_range=[50, 100], oracle_range=[1, 5],
               draws=[draw(judge_score=100, oracle_label=3)])  # fmt: skip
    scores = got.proxy_scores
    assert scores[["uid", "policy", "draw"]].values.tolist() == [
        ["p1", "base", LOGGED], ["p2", "base", LOGGED], ["p1", "clone", 0],
    ]  # fmt: skip
    assert scores["judge_raw"].fillna(-1).tolist() == [0.5, -1, 1]
    assert scores["reason"].fillna("").tolist() == ["", "not given", ""]
    columns = ["uid", "policy", "draw", "oracle_score", "oracle_prob"]
    assert got.oracle_labels[columns].values.tolist() == [
        ["p1", "base", LOGGED, 4.0, 0.5], ["p1", "clone", 0, 3.0, 1.0],
    ]  # fmt: skip
    assert got.summary["logs_without_judge_score"] == 1


def test_target_logps(tmp_path):
    logs = [
        log("p1", target_policy_logprobs={"clone": "-Infinity", "gone": -1}),
        log("p2", target_policy_logprobs={"clone": -math.inf}, logprob_kind="raw"),
        log("p3", target_policy_logprobs={"clone": None}, logprob_kind="raw"),
        without(log("p4", action="clone", token_logprobs=[-1, -1]), "target_policy_logprobs"),
    ]
    got = read(tmp_path, logs)
    assert got.target_logps["sequence_logp"].tolist()[:2] == [-math.inf, -math.inf]
    assert math.isnan(got.target_logps["sequence_logp"][2])
    assert got.target_logps["sequence_logp"][3] == -2.0  # its own policy's
    assert got.target_logps["logprob_kind"].fillna("").tolist() == ["", "raw", "", ""]
    assert got.summary["target_logps_outside_support"] == 2
    assert got.summary["target_logps_missing"] == 1
    assert got.summary["policies_without_draws"] == 1
    assert got.notes[1:] == ["ignored, as they have no draws: gone"]


def test_a_file_beside_the_logs_that_nobody_reads_is_told(tmp_path):
    write(tmp_path / "clone.jsonl", [draw("p1")])
    notes = read(tmp_path, [log("p1")]).notes
    (note,) = (note for note in notes if "is not read" in note)
    assert f"{tmp_path}/clone.jsonl" in note and f"move it to {tmp_path}/draws" in note


def test_a_given_logp_under_the_own_policy_is_kept(tmp_path):
    logs = [log(action="clone", target_policy_logprobs={"clone": -2.5})]
    assert read(tmp_path, logs).target_logps["sequence_logp"].tolist() == [-2.5]


def test_token_logprobs_stand_in_for_their_sum(tmp_path):
    logs = [without(log(token_logprobs=[-0.5, -1.5], tokens=["a", "b"]), "sequence_logp")]
    got = read(tmp_path, logs)
    assert got.logs["sequence_logp"].tolist() == [-2.0]
    words = refusal(tmp_path, logs=[log(sequence_logp=-0.2, token_logprobs=[-1, -1])])
    assert "logs.jsonl:1: sequence_logp: -0.2 is not the sum of token_logprobs, -2" in words


def test_without_ids_the_prompt_decides(tmp_path):
    texts = ["Same?", "Other?", "Same?"]
    logs = [without(log(prompt=text), "uid") for text in texts]
    pairs = [("Same?", "1"), ("Other?", "2"), ("Same?", "3"), ("Same?", "4")]
    draws = [without(draw(prompt=text, answer=answer), "uid") for text, answer in pairs]
    got = read(tmp_path, logs, draws)
    first, other, second = prompt_uids(texts)
    assert got.logs["uid"].tolist() == [first, other, second]
    assert got.draws[["uid", "draw", "answer"]].values.tolist() == [
        [first, 0, "1"], [other, 0, "2"], [second, 0, "3"], [first, 1, "4"],
    ]  # fmt: skip
    numbered = [row | {"draw": 0} for row in draws[:3]]
    assert read(tmp_path, logs, numbered).draws["uid"].tolist() == [first, other, second]
    assert "clone.jsonl:4: draw: 0 of uid" in refusal(
        tmp_path, logs=logs, draws=[*numbered, numbered[0]]
    )


def test_ids_are_kept_numbers_too_and_draws_are_counted(tmp_path):
    logs = [without(log(prompt_id=7, prompt="é?"), "uid")]
    draws = [{"metadata": {"prompt_id": "7"}, "response": "", "score": 1, "prompt": "e\u0301?"}] * 2
    got = read(tmp_path, logs, draws)
    assert got.draws[["uid", "prompt", "draw", "answer"]].values.tolist() == [
        ["7", "é?", 0, ""],
        ["7", "é?", 1, ""],
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('{"uid": "p1", ', "row: not valid JSON: "),
        ("[1, 2]", "row: [1, 2] is not an object of columns"),
        ("[" * 100_000, "row: not valid JSON: "),
        (without(log(), "uid"), "uid: missing, though other rows have it"),
        (log(uid=""), "uid: empty"),
        (log(uid=True), "uid: true is not text"),
        (log(prompt_id="p2"), 'prompt_id: "p2", but uid is "p1"'),
        (without(log(), "prompt"), "prompt: missing; give prompt"),
        (log(prompt=""), "prompt: empty"),
        (log(answer=None), "answer: missing; give answer or response"),
        (log(answer=3), "answer: 3 is not text"),
        (log(answer="half \ud800"), "answer: half a surrogate pair (U+D800) at character 5"),
        (log(tokens=["\udc00"]), "tokens: half a surrogate pair"),
        (log(tokens="yes"), 'tokens: "yes" is not a list'),
        (log(token_logprobs=[-1, 0.5]), "token_logprobs: 0.5 is above 0"),
        (
            log(judge_score="high"),
            'judge_score: "high" is not a number; write a number, or null where there is none',
        ),
        (
            log(judge_score="85%"),
            '"85%" is not a number; write 0.85, or 85 on a scale of [0,100]',
        ),
        (log(judge_score="87,5 %"), "; write 0.875, or 87.5 on a scale of [0,100]"),
        (log(judge_score="1,000"), '"1,000" is not a number; write 1.000'),
        (log(oracle_label="N/A"), '"N/A" is not a number; write null, or leave the column out'),
        (log(judge_score=[0.5]), "judge_score: [0.5] is not a number"),
        (log(judge_score="1_0"), 'judge_score: "1_0" is not a number'),
        (log(judge_score="85"), 'judge_score: "85" is outside judge_range [0, 1]; set judge_range'),
        (log(judge_score=1 + 2e-6), "judge_score: 1.000002 is outside judge_range [0, 1]"),
        (
            '{"uid": "p1", "prompt": "x", "answer": "y", "judge_score": 0.1, "judge_score": 0.9}',
            "judge_score: there twice, 0.1 and 0.9; keep one",
        ),
        (
            log(tokens=["a", "b"], token_logprobs=[-1.0, -0.5, -0.5]),
            "token_logprobs: 3 of them, but 2 tokens; give one for each token",
        ),
        (
            log(token_logprobs=[], sequence_logp=None),
            "token_logprobs: empty, though there is an answer; leave them out",
        ),
        (log(answer=None, judge_score=None, oracle_score=1), "answer: missing; give answer or"),
        (log(judge_score=math.inf), "judge_score: inf is outside judge_range"),
        (
            log(judge_score=85),
            "judge_score: 85 is outside judge_range [0, 1]; set judge_range=[0,100]?",
        ),
        (log(judge_score=-1), "judge_range [0, 1]; set judge_range to the scores' scale"),
        (
            log(oracle_label=7),
            "oracle_label: 7 is outside oracle_range [0, 1]; set oracle_range=[0,10]?",
        ),
        (log(oracle_score=10**400), "is too large"),
        (log(oracle_prob=0), "oracle_prob: 0 is not from 1e-09 to 1"),
        (log(score=0.4), "score: 0.4, but judge_score is 0.5"),
        (log(sequence_logp=0.1), "sequence_logp: 0.1 is above 0"),
        (log(sequence_logp=-math.inf), "sequence_logp: -inf: an answer cannot come from"),
        (log(sequence_logp=-9999), "sequence_logp: -9999 is a server's sentinel for a token"),
        (log(target_policy_logprobs={"a": -9999.0}), "target_policy_logprobs.a: -9999 is a server"),
        (
            without(log(token_logprobs=[-1.0, -10000.0]), "sequence_logp"),
            "token_logprobs: -10000 is a server's sentinel for a token whose log-",
        ),
        (
            log(token_logprobs=[-1, math.nan]),
            "token_logprobs: NaN is not a number; leave out the list",
        ),
        (log(base_policy_logprob=-2.5), "base_policy_logprob: -2.5, but sequence_logp is -2.0"),
        (log(target_policy_logprobs=-3), "target_policy_logprobs: -3 is not an object"),
        (log(target_policy_logprobs={"a": 1}), "target_policy_logprobs.a: 1 is above 0"),
        (log(target_policy_logprobs={"a": "x"}), 'target_policy_logprobs.a: "x" is not a number'),
        (log(logprob_kind="exact"), 'logprob_kind: "exact" is not sampling or raw'),
        (log(prompt_tokens=1.5), "prompt_tokens: 1.5 is not a whole number, 0 or more"),
        (log("p0"), 'uid: "p0" is on line 1 already'),
        (log("p0", answer="x", oracle_score=1), '"p0" is on line 1 already, with another answer'),
        (log(cluster=["c"]), 'cluster: ["c"] is neither text nor a whole number'),
    ],
)
def test_a_bad_log_row_is_named_or_left_out(tmp_path, row, words):
    logs = [log("p0"), row, log("p2")]
    draws = [draw("p0"), draw("p2")]
    message = refusal(tmp_path, logs=logs, draws=draws)
    assert f"{tmp_path}/logs.jsonl:2: " in message
    assert words in message
    assert message.splitlines()[-1] == "1 bad row in all: fix them, or set on_bad_row=skip"
    got = read(tmp_path, logs, draws, on_bad_row="skip")
    assert got.logs["uid"].tolist() == ["p0", "p2"]
    assert got.bad_rows[["file", "line"]].values.tolist() == [[f"{tmp_path}/logs.jsonl", 2]]
    assert words in f"{got.bad_rows['column'][0]}: {got.bad_rows['reason'][0]}"
    assert got.summary["bad_rows"] == 1


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (draw("p9"), 'uid: "p9" is in no good row of the logs; theirs are "p1"'),
        (without(draw(prompt="New?"), "uid"), "prompt: no good row of the logs has this prompt"),
        (
            without(draw(prompt=f"{log()['prompt']} \n"), "uid"),
            "prompt: no good row of the logs has this prompt, but for white space; write it as",
        ),
        (draw(prompt="Other?"), 'prompt: differs from the log\'s prompt of uid "p1"'),
        (without(draw(), "uid", "prompt"), "uid: missing; give uid, prompt_id, metadata.prompt_id"),
        (draw(draw=-1), "draw: -1 is not a whole number, 0 or more"),
        (draw(draw=0.5), "draw: 0.5 is not a whole number"),
        (draw(draw=0), 'draw: 0 of uid "p1" is on line 1 already'),
        (draw(draw=1, answer=None), "answer: missing"),
        (draw(draw=1, cluster=1.5), "cluster: 1.5 is neither text nor a whole number"),
        (draw(draw=1, judge_score=2), "judge_score: 2 is outside judge_range [0, 1]"),
    ],
)
def test_a_bad_draw_is_named_or_left_out(tmp_path, row, words):
    draws = [draw(draw=0), row]
    assert f"draws/clone.jsonl:2: {words}" in refusal(tmp_path, draws=draws)
    got = read(tmp_path, draws=draws, on_bad_row="skip")
    assert len(got.draws) == len(got.bad_rows) == 1


def test_all_files_are_read_before_the_error_and_it_stays_short(tmp_path):
    logs = [log(), log("p2", judge_score=9), log("p3", judge_score=9)]
    draws = [draw(), draw(judge_score=9), draw("p2")]  # the last for want of its log alone
    lines = refusal(tmp_path, logs=logs, draws=draws).splitlines()
    assert [line.split(":")[0].removeprefix(f"{tmp_path}/") for line in lines[:3]] == [
        "logs.jsonl", "logs.jsonl", "draws/clone.jsonl",
    ]  # fmt: skip
    assert lines[3:] == ["3 bad rows in all: fix them, or set on_bad_row=skip"]


def test_a_draw_of_a_prompt_whose_log_was_left_out_is_left_out_too(tmp_path):
    logs = [log(), log("p2", judge_score=9)]
    got = read(tmp_path, logs, [draw(), draw("p2")], on_bad_row="skip")
    assert got.draws["uid"].tolist() == ["p1"]
    assert got.bad_rows["column"].tolist() == ["judge_score", "uid"]


def test_byte_order_mark_blank_lines_and_crlf(tmp_path):
    read(tmp_path)
    path = tmp_path / "logs.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(log()).encode() + b"\r\n\r\n \n")
    assert read_inputs(tmp_path, chosen()).logs["uid"].tolist() == ["p1"]
    path.write_bytes(path.read_bytes() + b'{"prompt": "\xff"}')
    with pytest.raises(CJEError, match=r"logs\.jsonl:4: row: not UTF-8 text"):
        read_inputs(tmp_path, chosen())


def test_parquet_files_are_read_like_json(tmp_path):
    logs = [log(oracle_score=0.5, tokens=["a"], token_logprobs=[-2.0]), log("p2")]
    draws = [draw(draw=1), draw("p2")]
    one = read(tmp_path / "json", logs, draws)
    folder = tmp_path / "parquet"
    (folder / "fresh_draws").mkdir(parents=True)
    pd.DataFrame(logs).to_parquet(folder / "logs.parquet")
    pd.DataFrame(draws).to_parquet(folder / "fresh_draws" / "clone_responses.parquet")
    two = read_inputs(folder, chosen())
    assert two.targets == one.targets == ["clone"]
    for name in FRAMES:
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name))
    pd.DataFrame([log(judge_score=9)]).to_parquet(folder / "logs.parquet")
    with pytest.raises(CJEError, match=r"logs\.parquet:1: judge_score: 9 is outside"):
        read_inputs(folder, chosen())
    (folder / "logs.parquet").write_text("no")
    with pytest.raises(CJEError, match=r"logs\.parquet: cannot be read as parquet"):
        read_inputs(folder, chosen())


def test_a_folder_of_parquet_parts_is_one_file(tmp_path):
    for place in (1, 0):
        part = tmp_path / "logs.parquet" / f"part-0000{place}.parquet"
        part.parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist([without(log(f"p{place}"), "cluster")]), part)
    (tmp_path / "logs.parquet" / "_SUCCESS").touch()
    (tmp_path / "draws" / "clone.parquet").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([draw("p1")]), tmp_path / "draws/clone.parquet/0.parquet")
    got = read_inputs(tmp_path, chosen())
    assert got.logs["uid"].tolist() == ["p0", "p1"] and got.draws["uid"].tolist() == ["p1"]
    (tmp_path / "logs.parquet").rename(tmp_path / "logs.jsonl")
    with pytest.raises(CJEError, match=r"logs\.jsonl: a folder; write its parts into one file"):
        read_inputs(tmp_path, chosen())


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_csv_files_are_read_like_json(tmp_path, mark):
    answer = 'Two lines,\nand "quotes"; all of it'
    logs = [
        log(answer=answer, oracle_score=0.5, judge_score="0,75", tokens=["a", "b"],
            token_logprobs=[-1.0, -1.0], target_policy_logprobs={"clone": -3.0}),
        log("p2", answer="[not JSON] but text", judge_score="1,0"),
    ]  # fmt: skip
    draws = [draw(answer=answer), draw("p2")]
    one = read(tmp_path / "json", logs, draws)
    (tmp_path / "draws").mkdir()
    for rows, path in ((logs, "logs.csv"), (draws, "draws/clone.csv")):
        for row in rows:
            row.update({k: json.dumps(v) for k, v in row.items() if isinstance(v, list | dict)})
        frame = pd.DataFrame(rows)
        frame.to_csv(tmp_path / path, sep=mark, index=False, encoding="utf-8-sig")
    two = read_inputs(tmp_path, chosen())
    for name in FRAMES:
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name))
    text = (tmp_path / "logs.csv").read_text(encoding="utf-8-sig")
    (tmp_path / "logs.csv").write_text(text.replace("all of it", "für"), encoding="cp1252")
    with pytest.raises(CJEError, match=r"logs\.csv: not UTF-8 text: .*; save the file as UTF-8"):
        read_inputs(tmp_path, chosen())
    (tmp_path / "logs.csv").write_text(text.replace('""a"", ""b""', '""a"", ', 1))
    with pytest.raises(CJEError, match=r"logs\.csv:2: tokens: not valid JSON"):
        read_inputs(tmp_path, chosen())


def test_one_scale_is_suggested_for_all_scores_beyond_the_stated_one(tmp_path):
    def words(*scores: float) -> str:
        uids = [f"p{i}" for i in range(len(scores))]
        logs = [log(u, judge_score=s) for u, s in zip(uids, scores, strict=True)]
        return refusal(tmp_path, logs=logs, draws=[draw("p0")])

    assert words(0.5, 2, 5).count("set judge_range=[1,5]?") == 2
    assert words(0.5, 4, 7).count("set judge_range=[0,10]?") == 2
    assert words(4, 85).count("set judge_range=[0,100]?") == 2


def test_max_samples_keeps_a_seeded_part_in_the_order_of_the_file(tmp_path):
    uids = [f"p{i}" for i in range(50)]
    rows = {"logs": [log(u) for u in uids], "draws": [draw(u) for u in uids]}
    ten = read(tmp_path, **rows, max_samples=10)
    kept = ten.logs["uid"].tolist()
    assert len(kept) == 10
    assert kept == [u for u in uids if u in kept] == ten.draws["uid"].tolist()
    assert set(ten.target_logps["uid"]) == set(kept)
    assert ten.summary["prompts_left_out"] == 40
    assert set(kept) < set(read(tmp_path, **rows, max_samples=20).logs["uid"])
    assert kept != read(tmp_path, **rows, max_samples=10, seed=1).logs["uid"].tolist()
    assert len(read(tmp_path, **rows, max_samples=50).logs) == 50
    rows["draws"] = [draw(next(u for u in uids if u not in kept))]
    assert "raise max_samples" in refusal(tmp_path, **rows, max_samples=10)


def test_files_that_are_missing_doubled_or_of_no_use(tmp_path):
    def words() -> str:
        with pytest.raises(CJEError) as caught:
            read_inputs(tmp_path, chosen())
        return str(caught.value)

    write(tmp_path / "logs.xlsx", [log()])
    assert "none of logs.jsonl, logs.csv, logs.parquet" in words()
    assert "(logs.xlsx is none of them: save it as one of them)" in words()
    write(tmp_path / "logs.jsonl", [log()])
    assert "draws: no draws; give fresh answers of each target policy in <policy>.jsonl" in words()
    write(tmp_path / "draws" / "clone.jsonl", [])
    assert "draws/clone.jsonl: the file is empty" in words()
    write(tmp_path / "draws" / "clone.jsonl", [draw(judge_score=None)])
    assert "draws/clone.jsonl: no row has a judge_score" in words()
    write(tmp_path / "draws" / "clone.jsonl", [without(draw(rating=0.5), "judge_score")])
    assert 'or score); the row has "uid", "prompt", "answer", "rating"; data/inputs' in words()
    write(tmp_path / "draws" / "clone.jsonl", [draw()])
    (tmp_path / "draws" / "README.md").write_text("mine")
    assert read_inputs(tmp_path, chosen()).targets == ["clone"]
    write(tmp_path / "validation" / "clon.jsonl", [{"uid": "p1", "oracle_score": 1}])
    assert "validation/clon.jsonl: there are no draws of clon" in words()
    write(tmp_path / "fresh_draws" / "clone_responses.jsonl", [draw()])
    assert "clone is in " in words()
    write(tmp_path / "fresh_draws" / "my own.jsonl", [draw()])
    (tmp_path / "fresh_draws" / "clone_responses.jsonl").unlink()
    assert "my own.jsonl: the name of a policy has no white space" in words()
    write(tmp_path / "draws" / "a.xlsx", ["uid"])
    assert "a.xlsx: none of .jsonl, .csv, .parquet; save it as one of them" in words()
    write(tmp_path / "logged_data.jsonl", [log()])
    assert "keep one of logs.jsonl, logged_data.jsonl" in words()


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "the file is empty"),
        (json.dumps([log()]).encode(), "JSON, but not JSON Lines; write one JSON object per line"),
        (json.dumps(log(), indent=2).encode(), "write one JSON object per line"),
        (json.dumps(log()).encode("utf-16"), "save the file as UTF-8"),
    ],
)
def test_a_file_that_is_no_json_lines_is_one_error(tmp_path, content, words):
    read(tmp_path)
    (tmp_path / "logs.jsonl").write_bytes(content)
    with pytest.raises(CJEError) as caught:
        read_inputs(tmp_path, chosen())
    assert str(caught.value).startswith(f"{tmp_path}/logs.jsonl: ") and words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_columns_with_nearly_a_known_name_are_named(tmp_path):
    words = refusal(tmp_path, logs=[log(oracl_score=0.5)])
    assert "logs.jsonl:1: oracl_score: unknown column; did you mean oracle_score?" in words
    assert "draws/clone.jsonl:1: jugde_score: unknown" in refusal(
        tmp_path, draws=[without(draw(jugde_score=0.5), "judge_score")]
    )
    notes = read(tmp_path, [log(oracle_score_b=0.5, season="spring", topic="x")]).notes
    assert notes == [
        f"{tmp_path}/logs.jsonl: the column oracle_score_b is not read; did you mean oracle_score?"
    ]
    missing = refusal(tmp_path, logs=[{"uid": "p1", "question": "Why?"}])
    assert 'prompt: missing; give prompt; the row has "uid", "question"' in missing


def test_rows_that_are_there_twice_and_logs_of_two_policies_are_noted(tmp_path):
    logs = [log("p1"), log("p2", action="clone")]
    numbered = [draw("p2", draw=0), draw("p2", draw=1)]
    first, second = read(tmp_path, logs, [draw(), draw(), draw(answer="x"), *numbered]).notes
    assert "the column action names base, clone: all rows count as answers of base" in first
    assert second.startswith("draws of clone: 1 row with the uid, answer and scores of an earlier")


def json_of_a_frame(rows) -> str:
    """JSON lines of a data frame by way of dictionaries, where NaN stands for nothing."""
    return "\n".join(json.dumps(row) for row in pd.DataFrame(rows).to_dict("records"))


def parquet_of_arrays(rows, path) -> None:
    """Parquet as other programs write it: NaN in the columns of numbers."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    for name, values in columns.items():
        if any(isinstance(value, float) for value in values):
            columns[name] = np.array([math.nan if v is None else v for v in values])
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def test_nan_is_nothing_in_json_and_in_parquet(tmp_path):
    logs = [
        log("p1", oracle_score=0.25, oracle_prob=0.5, cluster="c"),
        log("p2", oracle_score=math.nan, oracle_prob=math.nan),
        log("p3", judge_score=math.nan, sequence_logp=math.nan, prompt_tokens=math.nan,
            target_policy_logprobs={"clone": math.nan}),
    ]  # fmt: skip
    draws = [draw("p1", oracle_score=math.nan), draw("p2", judge_score=math.nan), draw("p3")]
    one = read(tmp_path / "json", [json_of_a_frame(logs)], [json_of_a_frame(draws)])
    folder = tmp_path / "parquet"
    parquet_of_arrays(logs, folder / "logs.parquet")
    parquet_of_arrays(draws, folder / "draws" / "clone.parquet")
    two = read_inputs(folder, chosen())
    assert np.isnan(pq.read_table(folder / "draws/clone.parquet")["oracle_score"][0].as_py())
    for name in FRAMES:
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name))
    assert one.oracle_labels[["uid", "oracle_score"]].values.tolist() == [["p1", 0.25]]
    assert one.proxy_scores["judge_raw"].isna().tolist() == [False, False, True, False, True, False]
    assert one.logs["sequence_logp"].isna().tolist() == [False, False, True]
    assert one.prompts["cluster"].fillna("").tolist() == ["c", "", ""]


@pytest.mark.parametrize("policy", ["error", "skip"])
def test_an_answer_that_failed_is_told_from_a_judgement_that_failed(tmp_path, policy):
    logs = [log("p1"), log("p2", answer=None, judge_score=None), log("p3")]
    draws = [
        {"uid": "p1", "answer": None},
        draw("p2", answer=math.nan, judge_score=math.nan, oracle_score=None),
        draw("p3", judge_score=None, oracle_score=1),
        draw("p1", oracle_score=0.5),
    ]
    got = read(tmp_path, logs, draws, on_bad_row=policy)
    assert got.bad_rows.empty
    assert got.logs["answer"].isna().tolist() == [False, True, False]
    assert got.draws["answer"].isna().tolist() == [True, True, False, False]
    assert got.draws["draw"].tolist() == [0, 0, 0, 1]
    assert got.draws["reason"].tolist()[:2] == ["not given", "not given"]
    reasons = got.proxy_scores["reason"].fillna("").tolist()
    failed = "there is no answer"
    assert reasons == ["", failed, "", failed, failed, "not given", ""]
    assert got.summary["logs_without_answer"] == 1
    assert got.summary["draws_without_answer"] == 2
    assert got.summary["draws_without_judge_score"] == 1
    assert set(got.oracle_labels["oracle_prob"]) == {1.0}  # of the answers that there are


def test_what_is_left_out_is_told_by_file(tmp_path):
    logs = [log("p1"), log("p2"), log("p3", judge_score=9), log("p4")]
    draws = [draw("p1"), draw("p2", judge_score=9)]
    labels = [{"uid": "p1", "oracle_score": 1}]
    got = read(tmp_path, logs, draws, labels, on_bad_row="skip")
    half, quarter = {"rows": 1, "share": 0.5}, {"rows": 1, "share": 0.25}
    assert got.left_out == {"logs": quarter, "draws": {"clone": half}}
    write(tmp_path / "draws" / "other.jsonl", [draw("p1")])
    write(tmp_path / "validation" / "clone.jsonl", [*labels, {"uid": "p2", "oracle_score": 1}])
    got = read_inputs(tmp_path, chosen(on_bad_row="skip"))
    assert got.left_out["validation"] == {"clone": half}
    assert set(got.left_out["draws"]) == {"clone"}
    assert read(tmp_path / "clean").left_out == {}


def test_the_stage_hands_on_what_was_left_out(tmp_path, monkeypatch):
    from load_prompts import from_files

    monkeypatch.chdir(tmp_path)
    draws = [draw("p1", oracle_score=[0, 1]), draw("p2", judge_score=9)]
    read(tmp_path / "data" / "inputs", [log("p1"), log("p2")], draws, on_bad_row="skip")
    from_files(chosen(on_bad_row="skip"))
    found = json.loads((tmp_path / "metrics/inputs.json").read_text())
    assert found["left_out"] == {"draws": {"clone": {"rows": 1, "share": 0.5}}}
    assert (found["oracle_labels"], found["draw_labels"]) == (0, 1)
    checked = pq.read_table(tmp_path / "data/checked/oracle_labels.parquet").to_pylist()
    assert [(row["draw"], row["oracle_score"], row["raters"]) for row in checked] == [(0, 0.5, 2)]
    read(tmp_path / "data" / "inputs", [log(oracle_score=1)])
    from_files(chosen())
    assert "left_out" not in json.loads((tmp_path / "metrics/inputs.json").read_text())
    read(tmp_path / "data" / "inputs", [log(human_label=1)])
    with pytest.raises(CJEError, match=r"data/inputs: no row has an oracle_score .*; label a hund"):
        from_files(chosen())  # before anything is computed
    from_files(chosen(oracle_model="human"))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (1.0000000000000002, 1.0),
        (1.0000001192092896, 1.0),  # the next number of float32
        (-1e-12, 0.0),
        (True, 1.0),
        (False, 0.0),
        (" 0.5 ", 0.5),
        ("0,5", 0.5),
        ("0,125", 0.125),
        ("5e-1", 0.5),
        (1e-320, 1e-320),
    ],
)
def test_what_a_score_may_look_like(tmp_path, given, kept):
    got = read(tmp_path, [log(judge_score=given, oracle_score=given)], [draw(), draw()])
    assert got.proxy_scores["judge_raw"][0] == kept
    assert got.oracle_labels["oracle_score"][0] == kept


def test_words_for_nothing_are_no_clusters_and_suspect_answers(tmp_path):
    logs = [log(f"p{i}", cluster=word, answer="None") for i, word in enumerate(["nan", "nan", ""])]
    draws = [draw(f"p{i}", answer=word) for i, word in enumerate(["nan", "NaN", "<NA>"])]
    got = read(tmp_path, logs, draws)
    assert got.prompts["cluster"].isna().all()
    assert got.notes[0] == (
        "answers of base: 3 are the word None: give null where an answer failed; as a text it is "
        "judged like any other"
    )


def test_noise_is_relative_to_the_range_and_truth_values_may_be_outside(tmp_path):
    logs = [log(judge_score=100 + 4e-5)]
    got = read(tmp_path, logs, [draw(judge_score=50)], judge_range=[50, 100])
    assert got.proxy_scores["judge_raw"].tolist() == [1.0, 0.0]
    words = refusal(tmp_path, logs=[log(oracle_score=True)], oracle_range=[2, 5])
    assert "oracle_score: true is outside oracle_range [2, 5]; set oracle_range=[0,1]?" in words
    prob = log(oracle_score=1, oracle_prob=1.0000000000000002)
    assert read(tmp_path, [prob]).oracle_labels["oracle_prob"].tolist() == [1.0]


def test_decimals_and_numbers_as_text(tmp_path):
    (tmp_path / "draws").mkdir()
    rows = {"uid": [Decimal(7)], "prompt": ["x"], "answer": ["y"], "judge_score": [Decimal("0.25")],
            "oracle_score": [Decimal("0.5")], "sequence_logp": ["-1.5"]}  # fmt: skip
    pq.write_table(pa.table(rows), tmp_path / "logs.parquet")
    pq.write_table(
        pa.table({"uid": [7.0], "draw": ["0"], "answer": [""], "score": [True]}),
        tmp_path / "draws" / "clone.parquet",
    )
    got = read_inputs(tmp_path, chosen())
    assert got.logs[["uid", "sequence_logp"]].values.tolist() == [["7", -1.5]]
    assert got.draws[["uid", "draw"]].values.tolist() == [["7", 0]]
    assert got.proxy_scores["judge_raw"].tolist() == [0.25, 1.0]
    assert got.oracle_labels["oracle_score"].tolist() == [0.5]
    rows["judge_score"] = [Decimal("1.50")]
    pq.write_table(pa.table(rows), tmp_path / "logs.parquet")
    with pytest.raises(CJEError, match=r"judge_score: 1\.50 is outside"):
        read_inputs(tmp_path, chosen())


def test_a_long_answers_log_probability_may_be_below_the_mark(tmp_path):
    tokens = [-3000.0] * 4
    logs = [log(sequence_logp=-12000.0, token_logprobs=tokens), log("p2", sequence_logp=-9999.5)]
    assert read(tmp_path, logs).logs["sequence_logp"].tolist() == [-12000.0, -9999.5]


def test_finish_reasons_of_all_providers_and_unknown_ones(tmp_path):
    said = {
        "stop": "stop", "eos": "stop", "end_turn": "stop", "stop_sequence": "stop",
        "tool_use": "tool_call", "length": "length", "max_tokens": "length", "MAX_TOKENS": "length",
        "content_filter": "refusal", "refusal": "refusal", "abort": None, "SAFETY": "refusal",
        "tool_calls": "tool_call", "function_call": "tool_call", "eos_token": "stop",
        "max_output_tokens": "length", "guardrail_intervened": "refusal", "COMPLETE": "stop",
        "FinishReason.MAX_TOKENS": "length", "endTurn": "stop", "PAUSE_TURN": None,
        3: None, None: None,
    }  # fmt: skip
    logs = [log(f"p{i}", finish_reason=reason) for i, reason in enumerate(said)]
    draws = [draw("p0", finish_reason="max_tokens"), draw("p1", finish_reason={"type": "stop"})]
    draws += [draw("p2", stop_reason="end_turn"), draw("p3", finishReason="SAFETY")]
    got = read(tmp_path, logs, draws)
    assert got.logs["finish_reason"].fillna("").tolist() == [kept or "" for kept in said.values()]
    assert got.draws["finish_reason"].fillna("").tolist() == [
        "length", "", "stop", "refusal",
    ]  # fmt: skip
    words = [word if isinstance(word, str) else "" for word in said]
    assert got.logs["finish_reason_given"].fillna("").tolist() == words  # kept as given


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)
extra = "prompt_id metadata tokens token_logprobs model draw score action oracle_score cluster user"
columns = [*log(), *draw(), *extra.split(), "oracle_prob", "finish_reason", "logprob_kind"]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.dictionaries(st.sampled_from(columns), json_values, max_size=3), max_size=3))
def test_any_row_is_read_or_listed(tmp_path, changes):
    rows = [log(f"q{i}", number=i) | change for i, change in enumerate(changes)]
    fresh = [draw(f"q{i}") | change for i, change in enumerate(changes)]
    got = read(tmp_path, [log(), *rows], [draw(), *fresh], on_bad_row="skip")
    bad_logs = set(got.bad_rows[got.bad_rows["file"].str.endswith("logs.jsonl")]["line"])
    good = [row for line, row in enumerate(rows, 2) if line not in bad_logs]
    asked = {str(row.get("uid") or row.get("prompt_id")) for row in good}
    assert len(got.logs) <= len(good) + 1  # fewer where rows rate the same answer
    assert len(got.logs) + len(bad_logs) >= 1 + len(asked)
    bad_draws = len(got.bad_rows) - len(bad_logs)
    assert len(got.draws) + bad_draws <= len(fresh) + 1
    assert got.left_out.get("draws", {}).get("clone", {"rows": 0})["rows"] == bad_draws
    for name in FRAMES:
        pd.testing.assert_frame_equal(getattr(got, name), check_table(getattr(got, name), name))
        assert list(getattr(got, name).columns) == [c.name for c in TABLES[name].columns]
    assert all(math.isfinite(value) for value in got.summary.values())
    failed = got.logs["answer"].isna()
    judged = got.proxy_scores[got.proxy_scores["draw"] == LOGGED]["judge_raw"].notna()
    assert not (failed.to_numpy() & judged.to_numpy()).any()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(min_size=1), st.text())
def test_any_unicode_is_kept_as_it_is(tmp_path, prompt, answer):
    row = without(log(prompt=prompt, answer=answer), "uid")
    fresh = without(draw(prompt=prompt, answer=answer), "uid")
    got = read(tmp_path, [row], [fresh])
    assert got.logs[["prompt", "answer"]].values.tolist() == [[prompt, answer]]
    assert got.draws[["uid", "prompt", "answer"]].values.tolist() == [
        [*prompt_uids([prompt]), prompt, answer]
    ]
