"""People as the oracle: the list, what is kept of their labels, imports, raters, the page."""

import csv
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
from rich.console import Console

from cje.commands.watching import estimate
from cje.errors import CJEError
from cje.labelling import files, kept
from cje.labelling.agreement import agreement
from cje.labelling.importing import import_labels
from cje.labelling.kept import Labels, Mark, being_read, check_scale
from cje.labelling.page import Page, buttons
from cje.labelling.people import HumanSource, learned
from cje.labelling.session import Session
from cje.labelling.tasks import answer_id, task_list
from cje.models.runner.calls import Calls
from cje.pipeline.cast import cast_of
from cje.pipeline.choice import AnswerPool
from cje.pipeline.designs import answer_pool
from cje.pipeline.prompts import load_prompts
from cje.pipeline.sources import ModelSource
from cje.settings import parse_settings
from cje.stats.planning import Aim
from pipeline import ROOT

SETTINGS = {
    "policies": {
        "base": {"model": "sim/base"},
        "clone": {"model": "sim/base"},
        "better": {"model": "sim/better"},
    },
    "base_model": "base",
    "target_models": ["clone", "better"],
    "oracle_model": "human",
    "max_samples": 40,
    "oracle_fraction": 0.25,
    "target_labels": 20,
}


@pytest.fixture(scope="module")
def world() -> AnswerPool:
    """The answers of the simulated world."""
    settings = parse_settings(SETTINGS)
    source = ModelSource(settings, Calls(settings, "oracle_label"), cast_of(settings))
    prompts = load_prompts(settings)
    logs, draws = source.logs(prompts), source.draws(prompts)
    scores = source.proxy_scores(prompts, logs, draws)
    return answer_pool(settings, prompts, logs, draws, scores)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def listed(world, **changes) -> pd.DataFrame:
    return task_list(parse_settings(SETTINGS | changes), world)


def said(name: str, rater: str = "ann", **what) -> Mark:
    return Mark(id=name, uid="u", rater=rater, **(what or {"label": 5.0}))


def people(world, **changes) -> HumanSource:
    settings = parse_settings(SETTINGS | changes)
    return HumanSource(
        ModelSource(settings, Calls(settings, "oracle_label"), cast_of(settings)), settings
    )


# The list


def test_the_list_is_blind_by_prompts_and_names_an_answer_once(world):
    rows = listed(world)
    assert rows["id"].is_unique and rows["id"].str.fullmatch("[b-z]{12}").all()
    places = [list(world.prompts["uid"]).index(uid) for uid in rows["uid"]]
    order = list(world.designs.logged.order[:20])
    assert list(dict.fromkeys(places)) == order  # the first prompts of the design, one by one
    assert {len(names) for names in rows["policies"]} >= {1}
    assert set().union(*rows["policies"]) == {"base", "clone", "better"}
    path = files.write_lists(rows, parse_settings(SETTINGS))
    text = path.read_text(encoding="utf-8") + path.with_suffix(".jsonl").read_text()
    assert not {"clone", "policy", "judge_raw"} & set(re.findall(r"\w+", text))
    assert "Score the answer from 0 to 10" in text


def test_more_labels_contain_the_fewer_and_extra_ones_are_of_their_policy_alone(world):
    few, more = listed(world), listed(world, extra_labels={"better": 7})
    new = more[~more["id"].isin(few["id"])]
    assert set(few["id"]) < set(more["id"]) and len(new) == 7
    assert set(new["policies"]) == {("better",)}
    again = listed(world, extra_labels={"better": 12})
    assert set(more["id"]) < set(again["id"])


def test_two_raters_of_a_share_and_the_checks_come_last(world):
    rows = listed(world, raters_overlap=0.3, oracle_samples=5)
    assert 0.1 < (rows["raters"] == 2).mean() < 0.5
    assert listed(world)["raters"].eq(1).all()
    first = len(listed(world))
    assert len(rows) > first and set(rows["uid"][first:]).isdisjoint(rows["uid"][:first])


# What is kept


def test_marks_are_kept_corrected_and_withdrawn_with_their_history():
    labels = Labels()
    labels.add([said("a", label=0.0), said("a", "bob", label=7.0)])
    labels.add([said("a", label=3.0), said("b", skip="not my field")])
    other = Labels()
    assert other.ratings("a") == [3.0, 7.0] and other.skips("b") == ["not my field"]
    other.add([said("a", "bob", withdrawn=True)])
    labels.refresh()
    assert labels.ratings("a") == [3.0] and len(labels.marks) == 5
    assert labels.last_of("bob") is None and labels.last_of("ann").id == "b"


def test_a_torn_line_was_never_kept_and_one_without_its_end_is():
    Labels().add([said("a")])
    with kept.LABELS.open("ab") as file:
        file.write(b'{"id": "b", "rater": "an')
    Labels().add([said("c")])
    assert set(Labels().current) == {"a", "c"}
    kept.LABELS.write_bytes(kept.LABELS.read_bytes().rstrip(b"\n"))
    Labels().add([said("d")])
    assert set(Labels().current) == {"a", "c", "d"}


@pytest.mark.parametrize(
    "line, words",
    [
        ("<<<<<<< ours", "git left a conflict"),
        ("{}", "this is not a label"),
        ('{"id": "a", "uid": "u", "rater": "x"}', "neither a label nor a skip"),
        ('{"id": "a", "uid": "u", "rater": "x", "label": "7"}', "neither a label nor a skip"),
    ],
)
def test_a_damaged_file_is_an_error_with_its_line(line, words):
    Labels().add([said("a")])
    with kept.LABELS.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(CJEError, match=rf"labels.jsonl:2: {words}"):
        Labels()


def test_labels_of_another_scale_are_refused():
    labels = Labels()
    labels.add([said("a", label=7.0, scale=(0.0, 10.0))])
    check_scale(labels, (0.0, 10.0))
    with pytest.raises(CJEError, match=r"scale \[0, 10\], and oracle_range is \[0, 1\]"):
        check_scale(labels, (0.0, 1.0))


def test_a_label_waits_while_a_stage_reads_the_file():
    """DVC takes the fingerprint of what a stage read after the stage."""
    place = Path(".dvc/tmp/rwlock")
    place.parent.mkdir(parents=True)
    holder = {"pid": os.getpid(), "cmd": "dvc repro"}
    place.write_text(json.dumps({"read": {str(Path("labels").resolve()): [holder]}}))
    assert being_read(kept.LABELS)
    writer = threading.Thread(target=Labels().add, args=([said("a")],))
    writer.start()
    writer.join(0.3)
    assert writer.is_alive() and not kept.LABELS.exists()
    place.write_text(json.dumps({"read": {}}))
    writer.join(5)
    assert set(Labels().current) == {"a"}
    place.write_text(
        json.dumps({"read": {str(Path("labels").resolve()): [holder | {"pid": 2**22}]}})
    )
    assert not being_read(kept.LABELS)


def test_kill_minus_nine_loses_no_label_that_was_acknowledged(tmp_path):
    code = (
        "from cje.labelling.kept import Labels, Mark\n"
        "labels = Labels()\n"
        "for n in range(10**6):\n"
        "    labels.add([Mark(id=f'a{n}', uid='u', rater='x', label=1.0)])\n"
        "    print(n, flush=True)\n"
    )
    for _ in range(3):
        kept.LABELS.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT / "stages")},
        )  # fmt: skip
        seen = [process.stdout.readline() for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        seen += process.stdout.read().splitlines()
        process.wait()
        labels = Labels()
        assert {f"a{int(n)}" for n in seen if n.strip().isdigit()} <= set(labels.current)
        labels.add([said("after")])
        assert "after" in Labels().current


# What the stages make of it


def test_the_labels_so_far_have_the_chances_of_the_prompts_that_were_reached(world):
    rows, source = listed(world), people(world)
    with pytest.raises(StopIteration):
        next(iter(source.oracle_labels(world).itertuples()))
    first = list(dict.fromkeys(rows["uid"]))[:6]
    done = rows[rows["uid"].isin(first)]
    source.labels.add([said(name) for name in done["id"]])
    found = source.oracle_labels(world)
    assert found.groupby("policy")["uid"].nunique().to_dict() == {
        "base": 6, "clone": 6, "better": 6
    }  # fmt: skip
    assert found["oracle_prob"].to_numpy() == pytest.approx(6 / 40)
    source.labels.add([said(done["id"].iloc[-1], skip="?", label=None)])
    counts = source.progress(world).loc["base"]
    assert counts["asked"] == 10 and counts["passed_over"] == 0
    whose = done["policies"].iloc[-1]
    after = source.oracle_labels(world).groupby("policy")["oracle_prob"].first()
    for policy in ("base", "clone", "better"):
        assert after[policy] == pytest.approx((5 if policy in whose else 6) / 40)
    assert source.progress(world)["skipped"].to_dict() == {
        policy: int(policy in whose) for policy in ("base", "clone", "better")
    }


def actively(world, **changes) -> tuple[HumanSource, AnswerPool]:
    """People under active sampling, and the pool with the designs by what they have said."""
    changes = {"sampling": "active", "oracle_fraction": 0.5, "target_labels": 8} | changes
    answers = world.prompts, world.logs, world.draws
    source = people(world, **changes)
    pool = answer_pool(source.settings, *answers, source.source.proxy_scores(*answers))
    return source, learned(pool, source.labels, source.settings)


def test_people_label_the_logs_first_then_the_rest_and_what_is_drawn_stays_drawn(world):
    prompts, draws = world.prompts, world.draws
    echo = draws["policy"].eq("clone") & (draws.groupby("policy").cumcount() % 2 == 0)
    answers = draws["uid"].map(world.logs.set_index("uid")["answer"])
    world = replace(world, draws=draws.assign(answer=draws["answer"].mask(echo, answers)))
    source, pool = actively(world)
    logged = task_list(source.settings, pool)
    assert len(logged) == 20 and all("base" in names for names in logged["policies"])
    given = [said(name, label=float(i % 9)) for i, name in enumerate(logged["id"])]
    source.labels.add(given[:-1])
    source, pool = actively(world)
    assert set(task_list(source.settings, pool)["id"]) == set(logged["id"])
    assert set(source.oracle_labels(pool)["policy"]) == {"base"}
    source.labels.add(given[-1:])

    source, pool = actively(world)  # the clone's answers that are the base's are labelled by now
    rows = task_list(source.settings, pool)
    assert list(rows["id"][:20]) == list(logged["id"])
    found = source.oracle_labels(pool)
    assert set(found["policy"]) == {"base"} and found["oracle_prob"].eq(0.5).all()
    progress = source.progress(pool)
    assert (progress["passed_over"] == 0).all() and progress.loc["clone", "labelled"] > 0
    own = list(dict.fromkeys(rows["uid"][20:]))
    assert set(own) <= set(logged["uid"])
    source.labels.add([said(name) for name in rows["id"][20:][rows["uid"][20:].isin(own[:5])]])
    found = source.oracle_labels(pool)
    found = found[found["policy"] == "better"]
    places = pd.Index(prompts["uid"]).get_indexer(found["uid"])
    last = max(list(pool.designs.own.order).index(place) for place in places)
    assert found["oracle_prob"].to_numpy() == pytest.approx(
        pool.designs.own.probability(last + 1)[places]
    )
    assert found["oracle_prob"].nunique() > 2

    # A label that is corrected, more of a target's or of the base's.
    source.labels.add([said(name, label=9.0) for name in logged["id"][:5]])
    for changes in ({}, {"target_labels": 15}, {"extra_labels": {"base": 6}}):
        source, pool = actively(world, **changes)
        more = task_list(source.settings, pool)
        assert set(rows["id"]) <= set(more["id"])
        assert (len(more) > len(rows)) == bool(changes)


def test_what_was_passed_over_is_counted(world):
    rows, source = listed(world), people(world)
    source.labels.add([said(name) for name in rows["id"][::2]])
    counts = source.progress(world)
    assert (counts["passed_over"] > 0).all()
    assert (counts["labelled"] + counts["waiting"] == counts["asked"]).all()


def test_two_raters_are_averaged_and_their_noise_bounds_the_judge(world):
    rows, source = listed(world), people(world)
    truth = dict(zip(rows["id"], np.linspace(1, 9, len(rows)), strict=True))
    for rater, off in (("ann", 0.5), ("bob", -0.5)):
        source.labels.add([said(name, rater, label=truth[name] + off) for name in rows["id"]])
    found = source.oracle_labels(world)
    assert found["raters"].eq(2).all() and found["ratings"].str.len().eq(2).all()
    rng = np.random.default_rng(1)
    quality = rng.normal(size=4000)
    ratings = [q + rng.normal(size=2) for q in quality]
    agreed = agreement(ratings)
    assert agreed.reliability == pytest.approx(2 / 3, abs=0.03)  # var 1 of 1 + 1/2
    assert agreed.alpha == pytest.approx(0.5, abs=0.03)
    means = [pair.mean() for pair in ratings]
    assert np.corrcoef(quality, means)[0, 1] == pytest.approx(agreed.ceiling, abs=0.02)
    assert agreement([[3.0, 3.0]] * 9).alpha is None
    published = "1 1 1,2 2 3 2,3 3 3 3,3 3 3 3,2 2 2 2,1 2 3 4,4 4 4 4,1 1 2 1,2 2 2 2,5 5 5,1 1"
    units = [list(map(float, unit.split())) for unit in published.split(",")]
    assert agreement(units).alpha == pytest.approx(0.849, abs=5e-4)  # Krippendorff's own example
    assert agreement([[1.0, 2.0]] * 4) is None


# Imports


def sheet(rows: pd.DataFrame, **labels) -> str:
    """The CSV of the list with these labels by place."""
    path = files.write_lists(rows, parse_settings(SETTINGS))
    text = path.read_text(encoding="utf-8-sig")
    path.unlink()
    path.with_suffix(".jsonl").unlink()
    given = {rows["id"][int(place[1:])]: value for place, value in labels.items()}
    lines = []
    for line in text.splitlines():
        name = line.split(",")[0]
        label, note = given.get(name, ("", "")) if name in given else ("", "")
        lines.append(line[:-2] + f",{label},{note}" if name in given else line)
    return "\r\n".join(lines) + "\r\n"


def take(name: str, data: bytes, rows: pd.DataFrame, rater: str = "ann"):
    Path(name).write_bytes(data)
    return import_labels(Path(name), rows, Labels(), parse_settings(SETTINGS), rater)


def semicolons(text: str, mark: str = ";") -> str:
    """As a spreadsheet of a country with decimal commas saves it, in reverse, with a column more
    and without the head."""
    rows = list(csv.reader(io.StringIO(text, newline="")))
    start = next(n for n, row in enumerate(rows) if row[:1] == ["id"])
    table = [["nr", *rows[start]], *(["x", *row] for row in reversed(rows[start + 1 :]))]
    out = io.StringIO()
    csv.writer(out, delimiter=mark).writerows(table)
    return out.getvalue().replace("7.5", "7,5")


FORMS = {
    "as it is": lambda text: text.encode("utf-8-sig"),
    "without the mark": lambda text: text.encode(),
    "semicolons": lambda text: semicolons(text).encode("utf-8-sig"),
    "UTF-16": lambda text: semicolons(text, "\t").encode("utf-16"),
    "UTF-16 without the mark": lambda text: semicolons(text).encode("utf-16-le"),
    "Windows": lambda text: semicolons(text).encode("cp1252"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_list_comes_back_whatever_the_spreadsheet_did(world, form):
    rows = listed(world)
    text = sheet(rows, _0=("7.5", ""), _3=("0", "wärm"), _5=("skip", "no idea"))
    found = take("filled.csv", FORMS[form](text), rows)
    assert (len(found.new), found.corrected, found.elsewhere) == (3, [], 0)
    labels = Labels()
    assert labels.ratings(rows["id"][0]) == [7.5] and labels.ratings(rows["id"][3]) == [0.0]
    assert labels.skips(rows["id"][5]) == ["no idea"]
    again = take("filled.csv", FORMS[form](text), rows)
    assert (again.new, again.corrected, again.unchanged) == ([], [], 3)
    assert len(Labels().marks) == 3


def test_a_workbook_and_a_row_edited_after_its_import(world):
    rows = listed(world)
    book = openpyxl.Workbook()
    book.active.append(["My labels"])
    book.active.append(["note", "ID", "Label", "answer", "rater"])
    for name, answer, label in zip(rows["id"], rows["answer"], [3, 7.25, "8,5"], strict=False):
        book.active.append(["", name, label, answer, "eve"])
    book.save("mine.xlsx")
    settings = parse_settings(SETTINGS)
    found = import_labels(Path("mine.xlsx"), rows, Labels(), settings, "ann")
    assert [mark.label for mark in found.new] == [3.0, 7.25, 8.5]
    assert {mark.rater for mark in found.new} == {"eve"}
    book.active["C3"] = 4
    book.save("mine.xlsx")
    found = import_labels(Path("mine.xlsx"), rows, Labels(), settings, "ann")
    assert [(was.label, now.label) for was, now in found.corrected] == [(3.0, 4.0)]
    labels = Labels()
    assert labels.ratings(rows["id"][0]) == [4.0] and labels.marks[0].label == 3.0


def test_a_filled_jsonl_and_labels_of_answers_that_left_the_list(world):
    rows = listed(world)
    path = files.write_lists(rows, parse_settings(SETTINGS)).with_suffix(".jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]["label"] = 6
    old = {"prompt": "gone", "answer": "=1+1", "label": 2}
    lines.append(old | {"id": answer_id("gone", "=1+1")})
    found = take("a.jsonl", "\n".join(map(json.dumps, lines)).encode(), rows)
    assert [mark.label for mark in found.new] == [6.0, 2.0] and found.elsewhere == 1


@pytest.mark.parametrize(
    "column, value, words",
    [
        ("label", "11", r"label: 11 is outside oracle_range \[0, 10\]"),
        ("label", "good", 'label: "good" is neither a number nor skip'),
        ("label", "1.234,5", r'label: "1\.234,5" is neither a number nor skip'),
        ("label", "skip", "note: missing; a skip needs a reason"),
        ("id", "zzzz", 'id: "zzzz" is not on the list'),
    ],
)
def test_a_bad_row_is_refused_with_its_line_and_nothing_is_taken(world, column, value, words):
    rows = listed(world)
    good = {"id": rows["id"][0], "label": "5", "note": ""}
    bad = {"id": rows["id"][1], "label": "5", "note": ""} | {column: value}
    table = pd.DataFrame([good, bad]).to_csv(index=False, sep=";")
    with pytest.raises(CJEError, match=rf"bad.csv:3: {words}[^\n]*\n1 bad row: nothing"):
        take("bad.csv", table.encode(), rows)
    assert not Labels().marks


@pytest.mark.parametrize(
    "text, words",
    [
        ('id,label,note\n{0},4,"open\n{1},5,x\n', r"bad.csv:2: a quote in the row"),
        ("id,label,note\n{0},7,5,\n", "bad.csv:2: 4 cells under 3 column names"),
        ("id,label,label\n{0},4,5\n", "bad.csv:1: two columns are named label"),
        ("id,label,rater\n{0},4," + "r" * 61 + "\n", "rater: give a name of 1 to 60 letters"),
        ('id,label,rater\n{0},4,"a\nb"\n', "rater: give a name of 1 to 60 letters, on one line"),
        ("id,label,note\n{0},4,x\n{0},4,y\n", "bad.csv:3: note: differs from line 2"),
        ("id,label\n1E+05,4\n", 'id: "1E\\+05" is not on the list'),
        ("id,label\n{0},n/a\n", 'label: "n/a" is neither a number nor skip'),
    ],
)
def test_what_would_be_lost_without_a_word_is_refused(world, text, words):
    rows = listed(world)
    with pytest.raises(CJEError, match=words):
        take("bad.csv", text.format(*rows["id"][:2]).encode(), rows)
    assert not Labels().marks


def test_what_spreadsheets_and_corrections_of_words_add_is_taken_off(world):
    rows = listed(world)
    first, second, third, fourth, fifth = rows["id"][:5]
    lines = [
        "sep=;", "id;label;note", f"{first.upper()};4.0 ;", f"'{second};'4,5;",
        f"{third}\u00a0;\N{FULLWIDTH DIGIT FOUR}\u200b;", f"{fourth.capitalize()};-0;",
        f"{fifth};;liked it", ";;", "", " ; ;",
    ]  # fmt: skip
    found = take("mine.csv", "\r\n".join(lines).encode("utf-8-sig"), rows)
    assert [str(mark.label) for mark in found.new] == ["4.0", "4.5", "4.0", "0.0"]
    assert found.notes == ["mine.csv: notes without a label are not kept: line 7"]
    wide = parse_settings(SETTINGS | {"oracle_range": [0, 5000]})
    Path("wide.csv").write_text(f'id,label\n{first},"1,000"\n')
    with pytest.raises(CJEError, match="is ambiguous; leave out"):
        import_labels(Path("wide.csv"), rows, Labels(), wide, "ann")


def test_formulas_without_a_value_and_two_lists_in_a_workbook_are_told(world):
    rows = listed(world)
    book = openpyxl.Workbook()
    for row in (["id", "label"], [rows["id"][0], "=3+4"], [rows["id"][1], 7]):
        book.active.append(row)
    book.save("formula.xlsx")
    found = take("formula.xlsx", Path("formula.xlsx").read_bytes(), rows)
    assert len(found.new) == 1 and "a formula without a value, count as empty: 1" in found.notes[0]
    book.copy_worksheet(book.active)
    book.save("two.xlsx")
    with pytest.raises(CJEError, match="the sheets Sheet and Sheet Copy have columns id and label"):
        take("two.xlsx", Path("two.xlsx").read_bytes(), rows)


def test_a_sheet_of_which_one_column_was_sorted_is_refused(world):
    rows = listed(world).iloc[:3].assign(answer=["One  line.\r\nTwo", "1.50", "Naïve"])
    for column in ("answer", "prompt"):
        table = rows[["id", "prompt", "answer"]].assign(label=7)
        fine = table.assign(answer=["One line.\nTwo ", "1.5", "Naïve"])
        data = fine.to_csv(index=False)
        for encoding in ("utf-8", "cp1252", "mac-roman"):
            assert take("fine.csv", data.encode(encoding), rows).elsewhere == 0
        table.loc[[0, 2], column] = table.loc[[2, 0], column].to_numpy()
        if table[column].nunique() < 3:
            continue
        with pytest.raises(CJEError) as caught:
            take("sorted.csv", table.to_csv(index=False).encode(), rows)
        first, *_, last = str(caught.value).splitlines()
        name = rows["id"].iloc[0]
        assert first.startswith(f"sorted.csv:2: {column}: not the {column} of id {name} on the")
        assert last == "2 bad rows: nothing was imported"


@pytest.mark.parametrize(
    "row, words",
    [
        ({"labl": 3}, 'unknown key "labl"; did you mean label?'),
        ({"label": None, "labels": 3}, 'unknown key "labels"; did you mean label?'),
        ({"score": 3}, "label: missing"),
    ],
)
def test_a_line_of_json_without_its_keys_is_refused(world, row, words):
    rows = listed(world)
    with pytest.raises(CJEError, match=re.escape(f"a.jsonl:1: {words}")):
        take("a.jsonl", json.dumps({"id": rows["id"][0]} | row).encode(), rows)


def test_contradictions_dates_and_missing_headings_are_errors(world):
    rows = listed(world)
    name = rows["id"][0]
    with pytest.raises(CJEError, match="label: 4, but 3 on line 2"):
        take("a.csv", f"id,label\n{name},3\n{name},4\n".encode(), rows)
    with pytest.raises(CJEError, match="no row has the column names id and label"):
        take("a.csv", f"{name},3\n".encode(), rows)
    book = openpyxl.Workbook()
    for row in (["id", "label"], [name, pd.Timestamp("2026-05-07").to_pydatetime()]):
        book.active.append(row)
    book.save("date.xlsx")
    with pytest.raises(CJEError, match="turned the number into a date"):
        import_labels(Path("date.xlsx"), rows, Labels(), parse_settings(SETTINGS), "ann")
    with pytest.raises(CJEError, match=r"nope.csv: no such file"):
        import_labels(Path("nope.csv"), rows, Labels(), parse_settings(SETTINGS), "ann")


def test_a_list_that_somebody_fills_in_is_never_written_over(world):
    rows, settings = listed(world), parse_settings(SETTINGS)
    path = files.write_lists(rows, settings)
    assert files.write_lists(rows, settings) == path
    text = path.read_text(encoding="utf-8-sig")
    path.write_text(text.rstrip()[:-1] + "7,\n", encoding="utf-8")
    before = path.read_bytes()
    assert files.write_lists(rows, settings).name == "todo-2.csv"
    assert path.read_bytes() == before


def test_a_spreadsheet_computes_nothing_from_answers(world):
    rows = listed(world).assign(answer='=HYPERLINK("http://x")')
    path = files.write_lists(rows, parse_settings(SETTINGS))
    assert ",\"'=HYPERLINK" in path.read_text(encoding="utf-8")


# The page


@pytest.fixture
def page(world):
    session = Session(listed(world), Labels(), parse_settings(SETTINGS))
    served = Page(session, "Judge well.", "ann", 0)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield served
    served.shutdown()
    served.server_close()


def call(page: Page, path: str, given=None, **headers) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", page.server_port, timeout=10)
    kept_headers = {"X-Key": page.key} | headers
    body = None if given is None else json.dumps(given)
    connection.request("GET" if given is None else "POST", path, body, kept_headers)
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply.status, text


def test_only_who_has_the_address_is_answered(page):
    own = f"127.0.0.1:{page.server_port}"
    assert call(page, f"/?key={page.key}")[0] == 200
    assert call(page, "/")[0] == 403 and call(page, "/?key=guess")[0] == 403
    assert call(page, "/start", {})[0] == 200
    assert call(page, "/start", {}, **{"X-Key": "guess"})[0] == 403
    assert call(page, "/start", {}, Host="evil.example:80")[0] == 403  # a rebound name
    assert call(page, f"/?key={page.key}", Host="evil.example")[0] == 403
    assert call(page, "/start", {}, Origin="https://evil.example")[0] == 403
    assert call(page, "/start", {}, Origin=f"http://{own}")[0] == 200
    assert call(page, "/../params.yaml")[0] == 404
    assert page.server_address[0] == "127.0.0.1"


def test_two_raters_share_the_list_and_undo_their_own(page):
    first = json.loads(call(page, "/state", {"rater": "ann"})[1])
    other = json.loads(call(page, "/state", {"rater": "bob"})[1])
    assert first["task"]["id"] != other["task"]["id"]
    assert set(first["task"]) == {"id", "prompt", "reference", "answer"}
    mark = {"rater": "ann", "id": first["task"]["id"], "label": "7,5", "seconds": 2.0}
    status, text = call(page, "/mark", mark)
    assert status == 200 and json.loads(text)["done"] == 1
    assert Labels().ratings(mark["id"]) == [7.5]
    undone = json.loads(call(page, "/undo", {"rater": "ann"})[1])
    assert undone["task"]["id"] == mark["id"] and undone["done"] == 0
    assert call(page, "/mark", mark | {"label": 99})[0] == 409
    assert call(page, "/mark", mark | {"id": "zzz"})[0] == 409
    assert call(page, "/mark", mark | {"rater": " "})[0] == 409
    skipped = mark | {"label": None, "skip": "no idea"}
    assert call(page, "/mark", skipped)[0] == 200
    ids, rater = set(), {"rater": "bob", "label": 3}
    for _ in range(len(page.session.tasks)):
        task = json.loads(call(page, "/state", {"rater": "bob"})[1])["task"]
        ids.add(task["id"])
        call(page, "/mark", rater | {"id": task["id"]})
    assert mark["id"] in ids  # what one skipped is shown to the other
    assert json.loads(call(page, "/state", {"rater": "bob"})[1])["task"] is None


def test_the_buttons_of_scales():
    def keys(lo, hi):
        found = buttons(parse_settings(SETTINGS | {"oracle_range": [lo, hi]}))
        return [(button["value"], button["key"]) for button in found]

    assert keys(1, 5) == [(n, str(n)) for n in range(1, 6)]
    assert keys(0, 1) == [(0, "0"), (1, "1")]
    assert keys(0, 10)[-1] == (10, "t") and len(keys(0, 10)) == 11
    assert keys(0, 100)[3] == (30, "3") and keys(-1.0, 1.0)[0] == (-1, "0")


def test_five_thousand_answers_stay_quick():
    rows = pd.DataFrame({"id": [f"a{n}" for n in range(5000)]}).assign(
        uid="u", prompt="p" * 500, reference=None, answer="a" * 1500, raters=1, policies=None
    )
    session = Session(rows, Labels(), parse_settings(SETTINGS))
    labels = session.labels
    labels.add([said(f"a{n}", seconds=3.0, label=5.0) for n in range(4900)])
    start = time.process_time()
    for _ in range(20):
        task = session.state("ann")["task"]
        session.mark("ann", task["id"], label=4.0)
    assert (time.process_time() - start) / 20 < 0.1


def test_watching_says_why_nothing_can_be_estimated():
    printed = io.StringIO()
    estimate(20, Aim(), Console(file=printed, width=100))
    words = printed.getvalue()
    assert "dvc repro could not finish; the labels are kept" in words
    assert "not inside of a DVC repository" in words and "Traceback" not in words
