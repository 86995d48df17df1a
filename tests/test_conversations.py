"""Prompts that are conversations, and prompts that belong together."""

import json
from pathlib import Path

import pandas as pd
import pytest

from cje.data.readers.conversations import (
    cluster_of,
    first_user_text,
    grouping,
    repeats,
    says_more,
    turns_key,
)
from cje.data.readers.inputs import read_inputs
from cje.data.tables import check_table, prompt_uids
from cje.errors import CJEError
from cje.pipeline.prompts import load_prompts
from cje.settings import parse_settings
from user_rows import chosen, draw, log, read, refusal, without

SIMULATED = {"base_model": "sim/base", "target_models": ["sim/better"]}


def said(*texts: str, system: str | None = None) -> list[dict]:
    roles = ("user", "assistant")
    turns = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    return turns if system is None else [{"role": "system", "content": system}, *turns]


@pytest.mark.parametrize(
    ("turns", "text", "more"),
    [
        ("One?", "One?", False),
        (["One?"], "One?", False),
        (["One?", "Two?"], "One?", True),
        (said("One?"), "One?", False),
        (said("One?", "Yes."), "One?", False),
        (said("One?", "Yes.", "Two?"), "One?", True),
        (said("One?", system="Be brief."), "One?", True),
        ([{"content": "One?"}, {"content": "Two?"}], "One?", True),
        ([{"user": {"content": "One?"}, "assistant": {"content": "Yes."}}], "One?", False),
        ([{"role": "Human", "content": [{"type": "text", "text": "One?"}]}], "One?", False),
        ([{"role": "user", "content": [{"type": "image", "text": "x"}]}], None, False),
        (said("  "), None, False),
        ([], None, False),
    ],
)
def test_what_is_said_first(turns, text, more):
    assert first_user_text(turns) == text
    assert says_more(turns) is more


def test_conversations_are_told_apart_by_all_that_was_said():
    one, two = said("One?", "Yes.", "Two?"), said("One?", "No.", "Two?")
    assert turns_key(one) != turns_key(two)
    assert turns_key(one) == turns_key([turn | {"name": None} for turn in one])


def test_the_column_of_clusters():
    assert cluster_of({"user": "u", "conversation_id": 7}) == ("conversation_id", "7")
    assert cluster_of({"cluster": "", "user": "u"}) == ("user", "u")
    assert cluster_of({"conversation": said("One?"), "document": 3.0}) == ("document", "3")
    assert cluster_of({"user": True, "session_id": 0.5, "document": "\ud800"}) == ("", None)
    assert grouping([("user", "u"), ("user", "u")]) == [None, None]
    assert grouping([("cluster", "c"), ("cluster", "c")]) == ["c", "c"]
    assert grouping([("user", "u"), ("user", "v")]) == ["u", "v"]
    uids = prompt_uids(["x", "y", "x"])
    assert repeats(uids) == [uids[0], None, uids[0]]


def prompts(folder: Path, rows: list[dict], suffix: str = "jsonl", notes=None) -> pd.DataFrame:
    """The prompts of a file in `folder`, the working folder."""
    path = Path("data/prompts") / f"mine.{suffix}"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    if suffix == "jsonl":
        (folder / path).write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif suffix == "csv":
        pd.DataFrame(rows).to_csv(folder / path, index=False)
    else:
        pd.DataFrame(rows).to_parquet(folder / path, index=False)
    return check_table(load_prompts(parse_settings(SIMULATED | {"prompts": str(path)}), notes),
                       "prompts")  # fmt: skip


def test_a_file_of_conversations_is_read_as_the_hubs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notes: list[str] = []
    rows = [
        {"question_id": 1, "turns": ["Tides?", "Shorter."]},
        {"conversation": said("Hello.", "Hi.", "A joke."), "conversation_id": "c1"},
        {"messages": said("Only?", "Yes.")},
        {"prompt": said("Listed?"), "turns": ["Not this."]},
        {"prompt": "Text?", "conversation": "c2"},
        {"prompt": None, "conversation": json.dumps(said("As JSON?"))},
    ]
    found = prompts(tmp_path, rows, notes=notes)
    wanted = ["Tides?", "Hello.", "Only?", "Listed?", "Text?", "As JSON?"]
    assert found["prompt"].tolist() == wanted
    assert found["uid"].tolist() == prompt_uids(wanted)
    assert found["cluster"].fillna("").tolist() == ["", "c1", "", "", "c2", ""]
    assert notes == [
        "data/prompts/mine.jsonl: the first user turn is the prompt; 2 of 6 rows hold more, "
        "later turns or a system message, which is left out",
        "data/prompts/mine.jsonl: there are 6 prompts, fewer than max_samples (1,000): all of them "
        "are taken",
    ]
    assert not prompts(tmp_path, rows[2:], notes=(fewer := [])).empty
    assert not any("which is left out" in note for note in fewer)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_clusters_of_a_file_of_prompts(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    texts = ["a", "b", "a", "c", "b"]
    rows = [{"prompt": text} for text in texts]
    first, second, *_ = prompt_uids(texts)
    assert prompts(tmp_path, rows, suffix)["cluster"].fillna("").tolist() == [
        first, second, first, "", second,
    ]  # fmt: skip
    for row, cluster in zip(rows, ["x", "x", "y", "y", None], strict=True):
        row["cluster"] = cluster
    assert prompts(tmp_path, rows, suffix)["cluster"].tolist() == ["x", "x", "y", "y", second]


def test_a_parquet_file_of_conversations(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"messages": said("One?", "Yes."), "checks": None, "reference": "r"},
            {"messages": said("Two?"), "checks": None, "reference": None}]  # fmt: skip
    found = prompts(tmp_path, rows, "parquet")
    assert found["prompt"].tolist() == ["One?", "Two?"]
    assert found["reference"].fillna("").tolist() == ["r", ""]


@pytest.mark.parametrize(
    "row", [{"turns": []}, {"messages": said("  ")}, {"prompt": 3}, {"conversation": "c1"}]
)
def test_a_row_without_a_user_turn(tmp_path, monkeypatch, row):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CJEError, match=r"mine\.jsonl:2: prompt: missing or empty"):
        prompts(tmp_path, [{"prompt": "x"}, row])


def test_clusters_of_logs(tmp_path):
    logs = [log("p1", conversation_id=1), log("p2", conversation_id=1), log("p3", cluster="c"),
            log("p4")]  # fmt: skip
    draws = [draw("p1", conversation_id=99), draw("p3", cluster="c"), draw("p4", cluster="d")]
    got = read(tmp_path, logs, draws)
    assert got.prompts["cluster"].tolist() == ["1", "1", "c", "d"]
    assert got.summary["clusters"] == 3
    words = 'clone.jsonl:1: cluster: "e", but "c" in another row of uid "p3"'
    assert words in refusal(tmp_path, logs=logs, draws=[draw("p3", cluster="e")])
    session = [row | {"session_id": "today"} for row in (log("p1"), log("p2"))]
    assert read(tmp_path, session).prompts["cluster"].isna().all()


def test_equal_prompts_without_uid_are_one_cluster(tmp_path):
    logs = [without(log(prompt=text), "uid") for text in ("Same?", "Other?", "Same?")]
    draws = [without(draw(prompt="Other?"), "uid")]
    first, *_ = prompt_uids(["Same?"])
    assert read(tmp_path, logs, draws).prompts["cluster"].fillna("").tolist() == [first, "", first]
    logs[0]["cluster"] = "mine"
    assert read(tmp_path, logs, draws).prompts["cluster"].fillna("").tolist() == ["mine", "", first]
    named = [log("p1", prompt="Same?"), log("p2", prompt="Same?")]
    fresh = [draw("p1", prompt="Same?")]
    got = read(tmp_path, named, fresh)
    assert got.prompts["cluster"].isna().all()
    assert got.notes == [
        "1 prompt with the text of an earlier one under another uid: each counts as independent of "
        "it; give both the same cluster if they are not"
    ]


def test_prompts_of_users_files_may_be_messages(tmp_path):
    logs = [log("p1", prompt=said("One?")), log("p2", prompt=["One?", "Two?"])]
    draws = [draw("p1", prompt="One?"), draw("p2", prompt=["One?", "Two?"])]
    got = read(tmp_path, logs, draws)
    assert got.prompts["prompt"].tolist() == ["One?", "One?"]
    assert got.notes == ["prompts with more turns than the first user turn, the only one used: 1"]
    words = "logs.jsonl:1: prompt: a list without a first user turn that is text"
    assert words in refusal(tmp_path, logs=[log(prompt=[])])
    folder = tmp_path / "parquet"
    (folder / "draws").mkdir(parents=True)
    pd.DataFrame([log(prompt=said("One?"))]).to_parquet(folder / "logs.parquet")
    pd.DataFrame([draw(prompt=said("One?"))]).to_parquet(folder / "draws" / "clone.parquet")
    assert read_inputs(folder, chosen()).prompts["prompt"].tolist() == ["One?"]


def test_turns_of_one_conversation_find_their_draws_without_uid(tmp_path):
    long, longer = said("One?", "Yes.", "Two?"), said("One?", "Yes.", "Two?", "No.", "Three?")
    logs = [without(log(prompt=turns), "uid") for turns in (said("One?"), long, longer)]
    draws = [without(draw(prompt=turns, answer=text), "uid")
             for turns, text in ((longer, "c"), (said("One?"), "a"), (long, "b"))]  # fmt: skip
    got = read(tmp_path, logs, draws)
    assert got.logs["uid"].is_unique
    answers = got.draws.set_index("uid")["answer"]
    assert answers[got.logs["uid"]].tolist() == ["a", "b", "c"]
