"""The reply store: what is kept is found, by whomever; what is damaged is asked again."""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cje.errors import CJEError
from cje.models.requests import Reply, Request, request_key
from cje.models.runner.place import store_folder, take_over
from cje.models.runner.recording import recording_facts, recording_problems, write_recording
from cje.models.runner.store import ReplyStore, model_file, read_records
from cje.models.runner.upkeep import export_replies, holdings, import_replies, prune, store_problems

MODEL = "openai/gpt-4o"
STAGES = Path(__file__).resolve().parents[1] / "stages"
in_tmp = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
texts = st.text(st.characters(exclude_categories=["Cs"]))


def question(number: int = 0, model: str = MODEL) -> Request:
    return Request("answer", model, (("user", f"Say {number}."),), temperature=0.7, draw=0)


def answer(number: int = 0) -> Reply:
    return Reply(text=f'“{number}”\n,"reply":{{', tokens=["a", "b"], token_logprobs=[-0.5, -0.1])


def filled(folder: Path, count: int) -> ReplyStore:
    store = ReplyStore(folder)
    for number in range(count):
        store.keep(question(number), answer(number), 0.25)
    return store


@in_tmp
@given(text=st.none() | texts, token=texts, prompt=texts, logp=st.floats(max_value=0))
def test_what_is_kept_comes_back_in_the_same_process_and_in_another(
    tmp_path_factory, text, token, prompt, logp
):
    folder = tmp_path_factory.mktemp("store")
    request = Request("score", MODEL, (("user", prompt),), answer=token)
    reply = Reply(text=text, tokens=[token], token_logprobs=[logp, float("-inf")])
    store = ReplyStore(folder)
    assert store.get(request) is None and not store.holds(request)
    store.keep(request, reply, 0.125)
    for found in (store, ReplyStore(folder)):
        assert found.holds(request)
        assert found.get(request).reply == reply
        assert found.get(request).usd == 0.125


def test_half_a_surrogate_pair_in_a_reply_becomes_a_mark_that_a_file_can_hold():
    assert Reply(text="a\ud800b", tokens=["\udc00"]).text == "a?b"


def test_a_key_is_of_the_whole_request_and_of_nothing_else():
    one = question()
    assert one.key == question().key == request_key(one.canonical)
    others = [
        Request("answer", MODEL, (("user", "Say 0."),), temperature=0.8, draw=0),
        Request("answer", MODEL, (("user", "Say 0."),), temperature=0.7, draw=1),
        Request("answer", MODEL, (("system", "Say 0."),), temperature=0.7, draw=0),
        Request("score", MODEL, (("user", "Say 0."),), temperature=0.7, draw=0),
        question(model="openai/gpt-4o-mini"),
        one.again(),
        one.again().again(),
    ]
    assert len({one.key, *(other.key for other in others)}) == len(others) + 1


def test_models_have_files_of_their_own_whatever_their_names():
    names = ["local//a/b.gguf", "local//a/b_gguf", "local/a b", "local/a_b", "local/" + "x" * 300]
    files = {model_file(name) for name in names}
    assert len(files) == len(names)
    assert all(len(file.name) < 120 and file.parent == Path("local") for file in files)


@pytest.mark.parametrize("damage", ["flip", "cut", "garbage", "empty line", "other sum"])
def test_a_damaged_record_is_passed_over_reported_and_can_be_kept_anew(tmp_path, damage):
    filled(tmp_path, 5)
    path = tmp_path / model_file(MODEL)
    lines = path.read_bytes().splitlines(keepends=True)
    if damage == "flip":
        lines[2] = lines[2].replace(b"Say 2", b"Say 3")
    elif damage == "cut":
        lines[2] = lines[2][: len(lines[2]) // 2]
    elif damage == "garbage":
        lines[2] = b"\x00\xff{}\n"
    elif damage == "empty line":
        lines.insert(2, b"\n")
    else:
        lines[2] = lines[1][:30] + lines[2][30:]
    path.write_bytes(b"".join(lines))
    store = ReplyStore(tmp_path)
    held = [number for number in range(5) if store.holds(question(number))]
    lost = {"flip": [2], "cut": [2, 3], "garbage": [2], "empty line": [], "other sum": [2]}[damage]
    assert held == [number for number in range(5) if number not in lost]
    assert store.damaged == ({path: 1} if lost else {})
    for number in lost:
        store.keep(question(number), answer(number))
    again = ReplyStore(tmp_path)
    assert all(again.get(question(number)).reply == answer(number) for number in range(5))


@in_tmp
@given(cut=st.integers(min_value=0, max_value=2000))
def test_a_file_cut_anywhere_loses_only_what_was_cut(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("store")
    filled(folder, 6)
    path = folder / model_file(MODEL)
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    store = ReplyStore(folder)
    left = path.read_bytes()
    kept = left.count(b"\n")
    assert [store.holds(question(n)) for n in range(6)] == [n < kept for n in range(6)]
    store.keep(question(5), answer(5))  # after a half-written line
    assert ReplyStore(folder).get(question(5)).reply == answer(5)
    kept += whole[len(left) :].startswith(b"\n")  # of that record nothing but the end is missing
    assert [ReplyStore(folder).holds(question(n)) for n in range(5)] == [n < kept for n in range(5)]


def test_a_store_below_a_file_is_said_to_be_no_place_for_one(tmp_path):
    (tmp_path / "file").write_text("x")
    store = ReplyStore(tmp_path / "file" / "store")
    assert store.get(question()) is None
    with pytest.raises(CJEError, match=r"cannot be written .Not a directory.*CJE_STORE"):
        store.keep(question(), answer(), 0.0)


def test_of_two_replies_to_one_request_the_first_counts(tmp_path):
    store = filled(tmp_path, 1)
    store.keep(question(), Reply(text="another"))
    assert store.get(question()).reply == ReplyStore(tmp_path).get(question()).reply == answer()


def write_many(folder: Path, start: int) -> None:
    store = ReplyStore(folder)
    for number in range(start, start + 200):
        store.keep(question(number), answer(number))


def test_processes_append_at_once_without_harm_and_see_each_other(tmp_path):
    watching = ReplyStore(tmp_path)
    assert not watching.holds(question(3))
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=write_many, args=(tmp_path, i * 100)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    watching.refresh(MODEL)
    assert all(watching.get(question(n)).reply == answer(n) for n in range(400))
    assert watching.damaged == {}


def test_a_claim_holds_against_other_processes_until_it_is_released_or_its_process_is_killed(
    tmp_path,
):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from cje.models.runner.store import ReplyStore\n"
        "from cje.models.requests import Request\n"
        f"store = ReplyStore(Path({str(tmp_path)!r}))\n"
        f"ask = Request('answer', {MODEL!r}, (('user', 'Say 0.'),), temperature=0.7, draw=0)\n"
        "print(store.claim(ask), flush=True); time.sleep(60)\n"
    )
    paths = os.pathsep.join([str(STAGES), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths}
    other = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "True\n"
    store = ReplyStore(tmp_path)
    assert not store.claim(question())
    assert store.claim(question(1))
    other.kill()
    other.wait()
    assert store.claim(question())
    store.release(question())


def test_the_folder_is_that_of_the_repository_in_every_mode_of_dvc(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "root"))
    assert store_folder() == tmp_path / "root" / ".cje" / "replies"
    monkeypatch.setenv("CJE_STORE", str(tmp_path / "mine"))
    assert store_folder() == tmp_path / "mine"
    monkeypatch.delenv("CJE_STORE")
    monkeypatch.delenv("DVC_ROOT")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert store_folder() == tmp_path / ".cje" / "replies"


def git(*words: str, cwd: Path) -> None:
    who = (
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.org",
        "-c",
        "protocol.file.allow=always",
    )
    subprocess.run(["git", *who, *words], cwd=cwd, check=True, capture_output=True)


def test_all_worktrees_of_a_repository_have_one_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("CJE_STORE", raising=False)

    def folder(project: Path) -> Path:
        monkeypatch.setenv("DVC_ROOT", str(project))
        return store_folder()

    main = tmp_path / "main"
    (main / "sub").mkdir(parents=True)
    (main / "sub/file").write_text("")
    git("init", "-q", cwd=main)
    git("add", "-A", cwd=main)
    git("commit", "-q", "-m", "state", cwd=main)
    git("worktree", "add", "-q", "../tree", cwd=main)
    for project in ("", "sub"):
        for tree in ("main", "tree"):
            assert folder(tmp_path / tree / project) == main / project / ".cje/replies"
    git("clone", "-q", "--bare", "main", "bare", cwd=tmp_path)
    for name in ("one", "other"):
        git("worktree", "add", "-q", f"../{name}", "-b", name, cwd=tmp_path / "bare")
        assert folder(tmp_path / name / "sub") == tmp_path / "bare/sub/.cje/replies"
    git("submodule", "add", "-q", str(tmp_path / "bare"), "inner", cwd=main)
    git("worktree", "add", "-q", "../../third", "-b", "third", cwd=main / "inner")
    for project in (main / "inner", tmp_path / "third"):
        assert folder(project) == main / "inner/.cje/replies"


def test_a_worktrees_own_replies_move_to_the_shared_store_and_none_is_lost(tmp_path, capfd):
    own, shared = tmp_path / "own", tmp_path / "shared"
    filled(own, 4)
    store = filled(shared, 2)
    path = own / model_file(MODEL)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]) + lines[3][:50])  # one was half-written
    notes = {
        "unusable.jsonl": b'{"key":"k","usd":1.0,"reason":"late"}\n',
        "batches/openai.jsonl": b'{"intent":"t","after":null,"requests":[]}\n',
        "spent/0123": b"0.500000000\n0.500000000\n",
        "spent/together": b"0123 4567\n",
        "hits.jsonl": b'{"stage":"generate_logs","hits":0,"asked":3}\n',
    }
    for name, text in notes.items():
        for folder in (own, shared):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(text)
    running = filled(own, 0)
    running.join()
    with pytest.raises(CJEError, match="a run uses these replies; wait for its end"):
        take_over(own, shared)
    running.members.leave()
    for _ in range(2):  # a second time there is nothing left
        take_over(own, shared)
    assert f"moved 2 replies to {shared}" in capfd.readouterr().err
    assert not [p for p in own.rglob("*") if p.suffix == ".jsonl" or "spent" in p.parts[-2]]
    assert [store.holds(question(n)) for n in range(4)] == [True, True, False, False]
    store.refresh(MODEL)
    assert [store.get(question(n)) is not None for n in range(4)] == [True, True, True, False]
    assert holdings(shared)[0].damaged == 1
    for name, text in notes.items():
        twice = name in ("spent/0123", "hits.jsonl")  # dollars and hits are those of both
        assert (shared / name).read_bytes() == text * (2 if twice else 1)
    store.keep(question(3), answer(3))
    assert ReplyStore(shared).holds(question(3))


def test_a_folder_that_cannot_be_written_is_an_error_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CJEError, match=r"cannot be written .*CJE_STORE"):
        ReplyStore(tmp_path / "file" / "store").keep(question(), answer())


def test_a_recording_replays_without_a_store_and_comes_before_it(tmp_path):
    filled(tmp_path / "a", 5)
    path = tmp_path / "r.parquet"
    count = write_recording(path, read_records(tmp_path / "a" / model_file(MODEL)), {"seed": 1})
    assert count == 5 and recording_problems(path) == []
    assert recording_facts(path)["settings"] == {"seed": 1}
    first = path.read_bytes()
    write_recording(path, reversed(list(read_records(tmp_path / "a" / model_file(MODEL)))),
                    {"seed": 1})  # fmt: skip
    assert path.read_bytes() == first
    store = ReplyStore(tmp_path / "b", [path])
    assert store.get(question(4)).reply == answer(4) and store.get(question(4)).usd == 0.25
    assert store.knows(MODEL) and not store.knows("openai/gpt-4o-mini")
    assert not (tmp_path / "b").exists()
    store.keep(question(4), Reply(text="another"))
    assert ReplyStore(tmp_path / "b", [path]).get(question(4)).reply == answer(4)


def test_a_damaged_recording_is_named(tmp_path):
    filled(tmp_path / "a", 50)
    path = tmp_path / "r.parquet"
    write_recording(path, read_records(tmp_path / "a" / model_file(MODEL)))
    data = bytearray(path.read_bytes())
    data[100] ^= 255
    path.write_bytes(bytes(data))
    assert store_problems(tmp_path / "none", [path])
    with pytest.raises(CJEError, match=r"r\.parquet: this recording cannot be read"):
        store = ReplyStore(tmp_path / "b", [path])
        store.get(question(0))


def test_export_and_import_carry_replies_over(tmp_path):
    filled(tmp_path / "a", 5)
    keys = {question(1).key, question(3).key, "0" * 32}
    to = tmp_path / "part.parquet"
    assert export_replies(tmp_path / "a", [], to, keys, {}) == (2, 1)
    assert export_replies(tmp_path / "a", [], tmp_path / "all.parquet", None, {}) == (5, 0)
    assert import_replies(tmp_path / "b", to) == (2, 0)
    assert import_replies(tmp_path / "b", to) == (0, 2)
    store = ReplyStore(tmp_path / "b")
    assert [store.holds(question(n)) for n in range(5)] == [False, True, False, True, False]
    assert store.get(question(3)).usd == 0.25
    with pytest.raises(CJEError, match="contains none"):
        export_replies(tmp_path / "a", [], to, {"0" * 32}, {})


def test_holdings_and_problems_count_what_is_there(tmp_path):
    store = filled(tmp_path, 4)
    store.keep(question(0), answer(0))
    path = tmp_path / model_file(MODEL)
    path.write_bytes(path.read_bytes().replace(b"Say 2", b"Say 7"))
    (found,) = holdings(tmp_path)
    assert (found.model, found.replies, found.repeats, found.damaged) == (MODEL, 3, 1, 1)
    assert found.usd == 0.75 and found.size == path.stat().st_size
    assert len(store_problems(tmp_path, [])) == 1


def test_pruning_takes_what_is_named_and_what_is_of_no_use_and_only_when_told(tmp_path):
    store = filled(tmp_path, 4)
    store.keep(question(0), answer(0))
    store.members.leave()
    drop = {question(3).key}
    path = tmp_path / model_file(MODEL)
    before = path.read_bytes()
    gone, size = prune(tmp_path, lambda record: record.key in drop, really=False)
    assert gone == 2 and path.read_bytes() == before
    assert prune(tmp_path, lambda record: record.key in drop, really=True) == (gone, size)
    assert path.stat().st_size == len(before) - size
    held = ReplyStore(tmp_path)
    assert [held.holds(question(n)) for n in range(4)] == [True, True, True, False]
    assert store_problems(tmp_path, []) == []


def test_nobody_prunes_a_store_in_use(tmp_path):
    store = filled(tmp_path, 1)
    with pytest.raises(CJEError, match="a run uses the store"):
        prune(tmp_path, lambda record: True, really=True)
    assert store.holds(question(0))


def test_opening_a_store_of_many_replies_takes_little_time(tmp_path):
    """Two seconds for 20,000 replies: a stage opens it before its work."""
    store = filled(tmp_path, 1)
    path = tmp_path / model_file(MODEL)
    line = path.read_bytes()
    path.write_bytes(line * 20_000)
    start = time.process_time()
    assert ReplyStore(tmp_path).holds(question(0)) and store.holds(question(0))
    assert time.process_time() - start < 2
