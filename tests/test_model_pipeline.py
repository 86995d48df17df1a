"""The pipeline on models that are called, under DVC: one store, and nothing is asked twice."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

import warm
from cje.data.tables import read_table
from cje.results.opening import locked_stages
from pipeline import ROOT, STAGES, commit, new_project, ran, rerun, restore, run

SECRET = "sk-loopback-0123456789abcdef"
SETTINGS = {
    "max_samples": 60,
    "base_model": "openai/gpt-4o-mini",
    "target_models": "[openai/gpt-4o]",
    "proxy_model": "openai/gpt-4o-mini",
    "oracle_model": "anthropic/claude-haiku-4-5",
    "target_labels": 20,
    "oracle_samples": 20,
    "oracle_fraction": 0.4,
    "top_p": "null",
    "max_tokens": 12,
}


class Server:
    """A loopback server in a process of its own; `new()` is what was asked since the last look."""

    def __init__(self, log: Path):
        self.log, self.seen = log, 0
        command = [sys.executable, "tests/loopback.py", "--port", "0", "--log", str(log)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()

    def new(self) -> int:
        lines = self.log.read_text().splitlines()
        new, self.seen = len(lines) - self.seen, len(lines)
        return new

    def repeats(self) -> int:
        counts = Counter(line.split()[0] for line in self.log.read_text().splitlines())
        return sum(counts.values()) - len(counts)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    found = Server(tmp_path_factory.mktemp("server") / "calls.txt")
    keys = {"OPENAI_API_KEY": SECRET, "ANTHROPIC_API_KEY": SECRET}
    routes = {"OPENAI_BASE_URL": f"{found.url}/v1", "ANTHROPIC_BASE_URL": found.url}
    before = dict(os.environ)
    os.environ.update(keys | routes)
    yield found
    os.environ.clear()
    os.environ.update(before)
    found.process.terminate()
    found.process.wait()


@pytest.fixture(scope="module")
def project(server, tmp_path_factory):
    repo = new_project(tmp_path_factory.mktemp("project") / "cje")
    assert ran(rerun(repo, **SETTINGS)) == STAGES
    commit(repo)
    return repo


@pytest.fixture
def repo(project, server):
    server.new()
    yield project
    restore(project)


def cost(repo: Path) -> dict:
    return json.loads((repo / "metrics/cost.json").read_text(encoding="utf-8"))


def test_every_call_is_in_the_metrics_and_none_was_made_twice(repo, server):
    found = cost(repo)
    assert found["calls"] == server.seen and found["failed"] == 0
    assert server.repeats() == 0
    assert found["usd"] == pytest.approx(sum(row["usd"] for row in found["by_model"].values()))
    assert 0 < found["usd"] < 1
    logs = read_table(repo / "data/logs.parquet", "logs")
    assert logs["token_logprobs"].notna().all() and set(logs["logprob_kind"]) == {"raw"}
    for name in ("proxy_scores", "oracle_labels", "validation_labels"):  # paid for with the score
        assert read_table(repo / f"data/{name}.parquet", name)["reason"].str.len().gt(0).all()
    results = json.loads((repo / "metrics/estimates.json").read_text(encoding="utf-8"))["results"]
    assert results["openai/gpt-4o"]["weights"] == "none"


def test_more_labels_targets_and_prompts_ask_only_for_what_is_new(repo, server):
    rerun(repo, "oracle_label", oracle_fraction=0.6)
    labels = read_table(repo / "data/oracle_labels.parquet", "oracle_labels")
    assert len(labels) == 36 + 20 and server.new() <= 12  # equal answers share a judgement
    more = {"target_models": "[openai/gpt-4o,openai/gpt-4.1]", "max_samples": 70}
    rerun(repo, "draw_targets", **more)
    assert server.new() == 10 + 10 + 70
    assert server.repeats() == 0


def test_another_rubric_of_the_judge_leaves_the_truth_and_its_labels_alone(repo, server):
    labels = [repo / f"data/{name}_labels.parquet" for name in ("oracle", "validation")]
    scores = repo / "data/proxy_scores.parquet"
    before, judged = [path.read_bytes() for path in labels], scores.read_bytes()
    mine = "Score from {{ low }} to {{ high }} how kind it is.\n--- user ---\n{{ answer }}\n"
    (repo / "data/rubrics/kind.j2").write_text(mine, encoding="utf-8")
    rerun(repo, proxy_rubric="data/rubrics/kind.j2")
    assert [path.read_bytes() for path in labels] == before and scores.read_bytes() != judged
    asked = server.log.read_text().splitlines()[server.seen :]
    assert 0 < server.new() <= 120 and server.repeats() == 0
    assert not any("/messages" in line for line in asked)  # where the oracle is asked
    rerun(repo, proxy_rubric="null", oracle_rubric="data/rubrics/kind.j2")
    assert [path.read_bytes() for path in labels] != before and scores.read_bytes() == judged
    assert 0 < server.new() <= 44 + 40  # labels alone


def test_queued_and_temporary_experiments_share_the_store(repo, server):
    run("dvc", "exp", "run", "--queue", "-S", "temperature=0.3,0.5", "draw_targets", cwd=repo)
    # DVC sometimes cannot reach one of two workers to end it, which would keep a pipe open.
    run("sh", "-c", "dvc exp run --run-all -j 2 >run-all.txt 2>&1", cwd=repo)
    for worker in (repo / ".dvc/tmp/exps/celery").glob("*.pid"):
        with suppress(ProcessLookupError):
            warm.kill(int(worker.read_text()))
    assert server.new() == 2 * 2 * 60
    run("dvc", "exp", "run", "--temp", "-f", "-S", "temperature=0.3", "draw_targets", cwd=repo)
    rerun(repo, "draw_targets", temperature=0.5)
    assert server.new() == 0
    assert server.repeats() == 0


def test_a_worktree_shares_the_store_and_hands_over_the_one_it_had(
    repo, server, tmp_path, monkeypatch
):
    tree = tmp_path / "tree"
    run("git", "worktree", "add", "-q", "--detach", str(tree), cwd=repo)
    own = tree / ".cje/replies"
    with monkeypatch.context() as before:  # worktrees shared a store
        before.setenv("CJE_STORE", str(own))
        rerun(tree, "generate_logs", temperature=0.2)
    assert server.new() == 60 + 1
    words = run("dvc", "repro", "--force", "--single-item", "generate_logs", cwd=tree)
    assert f"moved 61 replies to {repo / '.cje/replies'}, which all worktrees share" in words
    assert not list(own.glob("*/*.jsonl"))
    # All stages again, on the replies of the main worktree: no key, and the same bytes.
    run("git", "checkout", "-q", ".", cwd=tree)
    with (tree / "stages/generate_logs.py").open("a", encoding="utf-8") as script:
        script.write("# A comment.\n")
    keys = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY"), "")
    assert ran(run("dvc", "repro", "--force", "--no-run-cache", cwd=tree, **keys)) == STAGES
    assert server.new() == 0 and server.repeats() == 0
    changed = run("git", "status", "--short", cwd=tree).split()
    assert changed == ["M", "dvc.lock", "M", "stages/generate_logs.py"]
    one, other = locked_stages(repo), locked_stages(tree)
    assert all(one[name]["outs"] == other[name]["outs"] for name in STAGES)
    run("git", "worktree", "remove", "--force", str(tree), cwd=repo)


def test_without_a_key_the_first_stage_says_which(repo, server):
    empty = {"CJE_STORE": str(repo.parent / "empty"), "OPENAI_API_KEY": ""}
    output = run("dvc", "repro", "-f", cwd=repo, ok=False, **empty)
    assert "No provider API key found! Please set OPENAI_API_KEY in" in output
    assert ran(output) == ["check_settings"] and "Traceback" not in output
    output = run("dvc", "repro", "-f", cwd=repo, ok=False, **empty, ANTHROPIC_API_KEY="")
    assert "Please set OPENAI_API_KEY and ANTHROPIC_API_KEY in" in output
    assert server.new() == 0


def test_a_recording_that_dvc_keeps_replays_the_run_without_keys_server_or_store(
    repo, server, tmp_path
):
    mine = tmp_path / "mine"
    shutil.copytree(repo, mine, symlinks=True)
    recording = "data/recordings/mine.parquet"
    words = run("cje", "store", "export", recording, cwd=mine)
    assert f"{cost(mine)['calls']:,} replies" in words
    run("dvc", "remote", "add", "--default", "storage", str(tmp_path / "storage"), cwd=mine)
    run("dvc", "add", recording, cwd=mine)
    # From the recording, on which the stages depend; where others find it by the settings alone.
    there = {"+addresses.openai": f"{server.url}/v1", "+addresses.anthropic": server.url}
    rerun(mine, **there)
    commit(mine)
    assert f"{recording}.dvc" in run("git", "ls-files", cwd=mine)
    run("dvc", "push", f"{recording}.dvc", cwd=mine)
    run("git", "clone", "-q", "mine", "fresh", cwd=tmp_path)
    fresh = tmp_path / "fresh"
    nothing = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY"), "")
    nowhere = dict.fromkeys(("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"), "http://127.0.0.1:9")
    # Without `dvc pull` before: the check fetches what DVC keeps, and every stage runs once.
    words = run(str(ROOT / ".ci/check-reproduction"), "", cwd=fresh, **nothing, **nowhere)
    assert ran(words) == STAGES
    assert "1 file checked, 0 problems" in words
    assert "reproduced: dvc.lock, metrics/ and plots/ are byte-identical" in words
    assert server.new() == 0 and not (fresh / ".cje").exists()
    run("dvc", "pull", recording, cwd=fresh)
    assert (fresh / recording).read_bytes() == (mine / recording).read_bytes()


def test_what_another_server_answers_is_asked_anew_and_what_the_first_one_said_is_kept(
    repo, server, tmp_path
):
    def addresses() -> set[str]:
        tables = [read_table(path, "calls") for path in (repo / "data").glob("*_calls.parquet")]
        return {a for t in tables for a in t["address"][t["model"].str.startswith("openai/")]}

    assert addresses() == {f"{server.url}/v1"}
    asked = server.seen
    other = Server(tmp_path / "calls.txt")
    try:
        # Of the environment DVC knows nothing; `cje run` does.
        elsewhere = {"OPENAI_BASE_URL": f"{other.url}/v1"}
        output = run("cje", "run", cwd=repo, **elsewhere)
        assert "Another address or chat template than before: openai/gpt-4o" in output
        assert "check_settings" in ran(output) and addresses() == {f"{other.url}/v1"}
        assert other.new() > 180 and server.new() == 0
        # The setting goes before the environment, and what each of the two said is kept.
        there = {"+addresses.openai": f"{other.url}/v1"}
        assert "check_settings" in ran(rerun(repo, **there))
        assert addresses() == {f"{other.url}/v1"}
        run("git", "checkout", "-q", "params.yaml", cwd=repo)
        assert "params.yaml" in run("dvc", "status", cwd=repo)
        rerun(repo)
        assert addresses() == {f"{server.url}/v1"}
        assert (other.new(), server.new(), server.seen) == (0, 0, asked)
    finally:
        other.process.terminate()
        other.process.wait()


def test_the_key_is_nowhere(repo):
    for path in repo.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


def test_a_budget_stops_the_stage_and_the_run_goes_on_when_it_is_raised(repo, server):
    output = rerun(repo, "draw_targets", ok=False, temperature=0.9, max_cost_usd=0.0008)
    assert "max_cost_usd: $0.0008" in output and "Traceback" not in output
    asked = server.new()
    assert 0 < asked < 120
    rerun(repo, "draw_targets", temperature=0.9, max_cost_usd=5)
    assert asked + server.new() == 120
    assert server.repeats() == 0


def test_what_a_run_would_cost_is_said_before_and_is_nothing_after(repo):
    words = run("cje", "cost", cwd=repo)
    assert "0 calls to make: $0.0000" in words and "rule of thumb" in words
    empty = {"CJE_STORE": str(repo.parent / "empty"), "OPENAI_API_KEY": ""}
    words = run("cje", "cost", cwd=repo, **empty)
    calls = int(words.split(" calls to make")[0].split()[-1])
    # Answers, judgements by the proxy, labels for the estimates, and labels that check them.
    assert calls == 60 + 60 + 120 + (24 + 20) + (20 + 20)


def test_upkeep_of_the_store(repo, tmp_path):
    words = run("cje", "store", cwd=repo)
    assert "openai/gpt-4o-mini" in words and "hits:" in words
    assert " 0 problems" in run("cje", "store", "verify", cwd=repo)
    path = repo / ".cje/replies/openai/gpt-4o-mini.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:1000] + b"?" + whole[1001:])
    assert "damaged" in run("cje", "store", "verify", cwd=repo, ok=False)
    path.write_bytes(whole)
    run("cje", "store", "export", "--all", str(tmp_path / "all.parquet"), cwd=repo)
    mine = {"CJE_STORE": str(tmp_path / "store")}
    assert "replies added" in run("cje", "store", "import", str(tmp_path / "all.parquet"),
                                  cwd=repo, **mine)  # fmt: skip
    words = run("cje", "store", "prune", "--model", "openai/gpt-4o", cwd=repo, **mine)
    assert "would be removed" in words
    words = run("cje", "store", "prune", "--model", "openai/gpt-4o", "--yes", cwd=repo, **mine)
    assert "removed" in words and not (tmp_path / "store/openai/gpt-4o.jsonl").exists()
