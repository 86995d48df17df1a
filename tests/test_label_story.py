"""Labels by people through DVC itself: asked for, imported, given on the page, and estimated."""

import csv
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import interruptible, new_project, ran, rerun, run

SMALL = {
    "oracle_model": "human", "max_samples": 100, "oracle_fraction": 0.4, "target_labels": 40,
    "target_models": "[better]", "oracle_samples": 0,
}  # fmt: skip
FIRST = 12  # answers that are labelled in the spreadsheet
LATER = ["oracle_label", "calibrate", "estimate", "validate"]


def told(prompt: str, answer: str) -> str:
    """A label that an answer's text decides."""
    return str(len(prompt + answer) % 8 + 2)


def filled(repo: Path, rows: int) -> None:
    """The list's first `rows` labelled, as a spreadsheet saves it."""
    path = repo / "labels" / "todo.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.reader(file))
    head = next(place for place, line in enumerate(lines) if line[:1] == ["id"])
    for line in lines[head + 1 : head + 1 + rows]:
        line[3] = told(*line[1:3])
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=";").writerows(lines)


def verdict(repo: Path) -> str:
    found = json.loads((repo / "metrics" / "validation.json").read_text(encoding="utf-8"))
    return found["results"]["better"]["verdict"]


def post(address: re.Match, path: str, given: dict) -> dict:
    connection = http.client.HTTPConnection("127.0.0.1", int(address[1]), timeout=60)
    connection.request("POST", path, json.dumps(given | {"rater": "ann"}), {"X-Key": address[2]})
    reply = connection.getresponse()
    found = json.loads(reply.read())
    connection.close()
    assert reply.status == 200, found
    return found


@pytest.mark.skipif(os.name != "posix", reason="ends the page as Ctrl-C does")
def test_people_label_and_the_verdict_follows(tmp_path):
    repo = new_project(tmp_path / "repo")
    words = rerun(repo, ok=False, **SMALL)
    listed = int(re.search(r"(\d+) answers wait for people's labels", words)[1])
    assert "Next: cje label" in words and ran(words)[-1] == "oracle_label"
    assert 40 < listed <= 80
    told_so = json.loads((repo / "metrics" / "labels.json").read_text(encoding="utf-8"))
    assert (told_so["labels"], told_so["waiting"]) == (0, listed)
    filled(repo, FIRST)
    cje = [sys.executable, "-m", "cje.cli", "label"]
    words = run(*cje, "--import", "labels/todo.csv", cwd=repo)
    assert f"{FIRST} new, 0 corrected" in words and "Next: dvc repro" in words
    words = run(*cje, "--import", "labels/todo.csv", cwd=repo)
    assert f"0 new, 0 corrected, {FIRST} as they were" in words
    words = rerun(repo)
    assert ran(words)[: len(LATER)] == LATER
    assert f"{listed - FIRST} answers wait for labels in labels/todo-2.csv" in words
    assert f"with {listed - FIRST} of 80 answers still to label, half widths are" in words
    assert verdict(repo) == "refuse"  # on so few labels
    assert ran(run("dvc", "repro", cwd=repo)) == []

    environment = os.environ | {"PYTHONPATH": str(repo / "stages"), "PYTHONUNBUFFERED": "1"}
    page = subprocess.Popen(
        [*cje, "--watch", str(listed - FIRST), "--within", "0.4", "--port", "0"], cwd=repo,
        env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=interruptible,
    )  # fmt: skip
    try:
        address = None
        while address is None:
            line = page.stdout.readline()
            assert line, page.wait()
            address = re.match(r"Open http://127.0.0.1:(\d+)/\?key=(\S+)", line)
        task = post(address, "/state", {})["task"]
        while task is not None:
            label = told(task["prompt"], task["answer"])
            task = post(address, "/mark", {"id": task["id"], "label": label})["task"]
        words = ""
        while not re.search("You can stop: |Do not stop yet: ", words):
            line = page.stdout.readline()
            assert line, words
            words += line
        page.send_signal(signal.SIGINT)
        words += page.stdout.read()  # `communicate` would lose what the reader holds already
        page.wait(timeout=60)
    finally:
        page.kill()
    assert f"After {listed - FIRST} marks here" in words and "for one look" in words
    assert "You can stop: every half width is at most 0.4" in words
    assert f"Saved in labels/labels.jsonl: {listed - FIRST} labels and skips." in words
    assert f"{listed} of {listed} answers of the list are labelled" in words
    assert verdict(repo) in ("reliable", "caution")
    assert ran(run("dvc", "repro", cwd=repo)) == []
    assert len((repo / "labels" / "labels.jsonl").read_text().splitlines()) == listed
