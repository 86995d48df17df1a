"""Prompts of the Hugging Face hub, by its own client, from a small hub on 127.0.0.1 whose files
have the columns of the real data sets."""

import json
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants as hub_constants
import pandas as pd
import pytest

from cje.data.readers.hub import hub_prompts
from cje.data.tables import check_table, prompt_uids
from cje.errors import CJEError
from cje.pipeline.prompts import load_prompts
from cje.settings import parse_settings
from loopback_hub import COMMIT, Hub, serving

SIMULATED = {"base_model": "sim/base", "target_models": ["sim/better"]}


def message(role: str, content, **more) -> dict:
    return {"role": role, "content": content, **more}


def chat(*texts: str) -> list[dict]:
    roles = ("user", "assistant")
    return [message(roles[i % 2], text) for i, text in enumerate(texts)]


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Hub:
    with serving(monkeypatch, tmp_path / "cache") as found:
        yield found


def parquet(rows: list[dict]) -> bytes:
    return pd.DataFrame(rows).to_parquet(index=False)


def json_lines(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def csv(rows: list[dict]) -> bytes:
    return pd.DataFrame(rows).to_csv(index=False).encode()


def arena_conversations() -> dict[str, bytes]:
    """lmsys/chatbot_arena_conversations: two conversations that begin alike."""
    rows = [
        {
            "question_id": str(n), "model_a": "a", "model_b": "b", "winner": "tie", "judge": "j",
            "conversation_a": chat(text, "Yes."), "conversation_b": chat(text, "No."), "turn": 1,
            "anony": True, "language": language, "tstamp": 1.0, "toxic_chat_tag": {"x": False},
        }
        for n, (text, language) in enumerate(
            [("Who was Ada?", "English"), ("Wer war Ada?", "German"), ("who  WAS ada?", "English")]
        )
    ]  # fmt: skip
    return {"data/train-00000-of-00001-aa.parquet": parquet(rows), "README.md": b"# x"}


def arena_preferences() -> dict[str, bytes]:
    """lmarena-ai/arena-human-preference-140k: content in parts, the whole session beside them."""

    def part(text: str | None, image: str | None = None) -> dict:
        kind = "image" if image else "text"
        return {"type": kind, "text": text, "image": image, "mimeType": None}

    def row(first: list[dict], second: str, language: str) -> dict:
        user = message("user", first, num_tokens=3.0)
        reply = message("assistant", [part("Hm.")], num_tokens=1.0)
        exchange = {"user": user, "model_side_a": reply, "model_side_b": reply}
        later = [message("user", [part(second)]), reply]
        return {
            "id": "x", "model_a": "a", "model_b": "b", "winner": "tie",
            "evaluation_session_id": "s",
            "conversation_a": later, "conversation_b": later, "full_conversation": [exchange],
            "language": language, "is_code": False, "timestamp": pd.Timestamp("2026-01-01"),
        }  # fmt: skip

    rows = [
        row([part("Name a river.")], "another?", "en"),
        row([part("What is this?"), part(None, "aGk=")], "and this?", "en"),
        row([part("Nenne einen Fluss.")], "mehr", "de"),
    ]
    return {f"data/train-0000{i}-of-00003.parquet": parquet([r]) for i, r in enumerate(rows)}


def lmsys_chat() -> dict[str, bytes]:
    """lmsys/lmsys-chat-1m."""
    rows = [
        {
            "conversation_id": "1", "model": "m", "conversation": chat("Hello there", "Hi"),
            "turn": 1, "language": "English", "openai_moderation": [{"flagged": False}],
            "redacted": False,
        },
        {
            "conversation_id": "2", "model": "m", "conversation": chat("   ", "Hi", "Hey"),
            "turn": 2, "language": "English", "openai_moderation": [{"flagged": False}],
            "redacted": True,
        },
    ]  # fmt: skip
    return {"data/train-00000-of-00006-x.parquet": parquet(rows)}


def wild_chat() -> dict[str, bytes]:
    """allenai/WildChat-1M: turns with a great deal beside them."""

    def turn(role: str, text: str) -> dict:
        return message(
            role, text, country="Peru", hashed_ip="x", header={"accept-language": "en"},
            language="English", redacted=False, state="Lima", timestamp=None, toxic=False,
            turn_identifier=1,
        )  # fmt: skip

    rows = [
        {
            "conversation_hash": "h", "model": "m", "timestamp": pd.Timestamp("2026-01-01"),
            "conversation": [turn("user", text), turn("assistant", "Sure.")], "turn": 1,
            "language": language, "openai_moderation": [], "detoxify_moderation": [],
            "toxic": False, "redacted": False, "state": "Lima", "country": "Peru",
        }
        for text, language in [("Fix: he go home", "English"), ("Corrige: il vas", "French")]
    ]  # fmt: skip
    return {"data/train-00000-of-00014.parquet": parquet(rows)}


def arena_hard() -> dict[str, bytes]:
    """lmarena-ai/arena-hard-auto: questions of two versions, beside answers of models."""
    answers = json_lines([{"uid": "1", "messages": chat("no", "prompt")}])
    new = [{"uid": "1", "category": "hard_prompt", "subcategory": "coding", "prompt": "Sort it."}]
    old = [{"question_id": "1", "category": "x", "cluster": "y", "turns": [{"content": "Old."}]}]
    return {
        "data/arena-hard-v0.1/question.jsonl": json_lines(old),
        "data/arena-hard-v2.0/model_answer/gpt.jsonl": answers,
        "data/arena-hard-v2.0/question.jsonl": json_lines(new),
    }


@pytest.mark.parametrize(
    "files, language, wanted",
    [
        (arena_conversations, "English", ["Who was Ada?"]),
        (arena_conversations, None, ["Who was Ada?", "Wer war Ada?"]),
        (arena_preferences, "English", ["Name a river."]),
        (lmsys_chat, "english", ["Hello there"]),
        (wild_chat, "fr", ["Corrige: il vas"]),
        (arena_hard, None, ["Sort it."]),
    ],
)
def test_the_first_user_turns_of_real_schemas(
    hub: Hub, files: Callable, language: str | None, wanted: list[str]
):
    hub.files["them/set"] = files()
    found = hub_prompts("them/set", language)
    assert found["prompt"].tolist() == wanted
    assert found["uid"].tolist() == prompt_uids(wanted)
    assert set(found["source"]) == {f"hf:them/set@{COMMIT}"}


@pytest.mark.parametrize(
    "rows, wanted",
    [
        ([{"turns": ["One?", "Two?"]}, {"turns": ["Three?"]}], ["One?", "Three?"]),
        ([{"prompt": '["As JSON?", "Two?"]'}], ["As JSON?"]),
        ([{"prompt": "Plain?"}, {"prompt": "[1, 2] sorted?"}], ["Plain?", "[1, 2] sorted?"]),
        ([{"messages": [message("system", "Be."), message("user", "Me?")]}], ["Me?"]),
        ([{"prompt": "Café?"}, {"prompt": "Cafe\u0301?"}], ["Café?"]),
        ([{"prompt": "\ud800"}, {"prompt": "Whole?"}], ["Whole?"]),
    ],
)
def test_other_forms_of_turns(hub: Hub, rows: list[dict], wanted: list[str]):
    hub.files["them/set"] = {"train.jsonl": json_lines(rows)}
    assert hub_prompts("them/set")["prompt"].tolist() == wanted


@pytest.mark.parametrize(
    "column, ids, wanted",
    [
        ("conversation_id", ["x", "x", "y", "z"], ["x", "x", "y"]),
        ("cluster", [1, 1, 1, 2], ["1", "1", "1"]),
        ("conversation_hash", ["h", "h", "h", "h"], [None, None, None]),
        ("user", ["u", "v", "u", "v"], [None, None, None]),  # may well be what the user says
    ],
)
@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.csv"])
def test_the_clusters_of_a_data_set(hub: Hub, name: str, column: str, ids: list, wanted: list):
    texts = ["One?", "Two?", "Three?", "one?"]
    rows = [{"prompt": text, column: i} for text, i in zip(texts, ids, strict=True)]
    write = {".parquet": parquet, ".jsonl": json_lines, ".csv": csv}[Path(name).suffix]
    hub.files["them/set"] = {name: write(rows)}
    assert hub_prompts("them/set")["cluster"].tolist() == wanted
    given = SIMULATED | {"prompts": "hf:them/set"}
    prompts = check_table(load_prompts(parse_settings(given)), "prompts")
    assert prompts["cluster"].fillna("").tolist() == [cluster or "" for cluster in wanted]


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
def test_the_other_columns_of_a_data_set_are_kept_to_slice_by(hub: Hub, name: str):
    rows = [
        {
            "conversation": chat(text, "Yes."), "topic": topic, "turn": n, "toxic": n > 1,
            "conversation_id": "c", "checks": "x", "language": "English", "response": "y" * 999,
            "moderation": [{"flagged": False}], "metadata": {"level": topic * 2},
        }
        for n, (text, topic) in enumerate([("One?", "a"), ("Two?", "b"), ("one?", "c")], start=1)
    ]  # fmt: skip
    hub.files["them/set"] = {name: (parquet if name == "a.parquet" else json_lines)(rows)}
    given = SIMULATED | {"prompts": "hf:them/set", "language": "English"}
    prompts = check_table(load_prompts(parse_settings(given)), "prompts")
    kept = [json.loads(text) for text in prompts["metadata"]]
    assert kept == [
        {"topic": "a", "turn": 1, "toxic": False, "language": "English", "level": "aa"},
        {"topic": "b", "turn": 2, "toxic": True, "language": "English", "level": "bb"},
    ]


def test_a_csv_of_prompts(hub: Hub):
    hub.files["them/set"] = {"prompts.csv": csv([{"act": "x", "prompt": "Be a\npirate"}])}
    assert hub_prompts("them/set")["prompt"].tolist() == ["Be a\npirate"]


def test_a_file_is_fetched_once(hub: Hub):
    hub.files["them/set"] = {"train.jsonl": json_lines([{"prompt": "Once?"}])}
    hub_prompts("them/set")
    fetched = len(hub.served)
    hub_prompts("them/set@v1")
    assert len(hub.served) == fetched


def test_the_pipeline_takes_a_seeded_sample(hub: Hub):
    hub.files["them/set"] = {
        "train.jsonl": json_lines([{"prompt": f"Question {n}?"} for n in range(50)])
    }
    given = SIMULATED | {"prompts": "hf:them/set", "max_samples": 10}
    first, again, other = (
        load_prompts(parse_settings(given | {"seed": seed}))["prompt"].tolist()
        for seed in (1, 1, 2)
    )
    assert len(first) == 10 and first == again and first != other


@pytest.mark.parametrize(
    "error, words",
    [
        ((401, "RepoNotFound"), "no such data set; check the name on https://huggingface.co"),
        ((403, "GatedRepo"), "gated: accept the terms on https://huggingface.co"),
        ((401, "GatedRepo"), "set HF_TOKEN"),
        ((403, "Other"), "the hub answers 403 for the data set; check HF_TOKEN"),
    ],
)
def test_what_the_hub_refuses_is_said_and_the_token_is_not(hub: Hub, error, words: str):
    hub.errors["them/set"] = error
    with pytest.raises(CJEError, match=words) as found:
        hub_prompts("them/set")
    assert "params.yaml: prompts: hf:them/set" in str(found.value)
    assert "secret" not in str(found.value)


def test_a_revision_that_is_not_there(hub: Hub):
    hub.files["them/set"] = arena_hard()
    with pytest.raises(CJEError, match="no revision v9"):
        hub_prompts("them/set@v9")


def test_no_network(hub: Hub, monkeypatch):
    monkeypatch.setattr(hub_constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(CJEError, match=r"the hub cannot be reached .*check the network"):
        hub_prompts("them/set")


def test_the_package_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(CJEError, match=r"pip install -e '\.\[hub\]'"):
        hub_prompts("them/set")


@pytest.mark.parametrize(
    "files, language, words",
    [
        ({"a.txt": b""}, None, "no .parquet, .jsonl, .csv file there"),
        (
            {"a.jsonl": b'{"text": "x"}\n'},
            None,
            "found text.\nConvert it to one file with a column `prompt`",
        ),
        ({"a.jsonl": b'{"prompt": "x"}\n'}, "English", "no column `language`"),
        ({"a.jsonl": b'{"prompt": "x"}\n3\n'}, None, "a.jsonl:2: not a JSON object"),
        ({"a.parquet": b"PAR1"}, None, "a.parquet: cannot be read"),
        (wild_chat(), "Klingon", "no row of hf:them/set is in Klingon; there are .*English"),
    ],
)
def test_data_sets_that_are_not_understood(hub: Hub, files, language: str | None, words: str):
    hub.files["them/set"] = files
    with pytest.raises(CJEError, match=words):
        hub_prompts("them/set", language)


@pytest.mark.parametrize("name", ["hf:set", "hf:them/set@", "hf://them/set"])
def test_names_that_are_none(name: str):
    with pytest.raises(CJEError, match="hf:<owner>/<data set>"):
        parse_settings(SIMULATED | {"prompts": name})


def test_a_language_column_of_a_file(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": "Who?", "language": "English"}, {"prompt": "Wer?", "language": "German"}]
    file = Path("data/prompts/p.jsonl")
    file.parent.mkdir(parents=True)
    file.write_bytes(json_lines(rows))
    given = SIMULATED | {"prompts": str(file), "language": "english"}
    assert load_prompts(parse_settings(given))["prompt"].tolist() == ["Who?"]
    with pytest.raises(CJEError, match=r"no row of .* has Dutch"):
        load_prompts(parse_settings(given | {"language": "Dutch"}))
