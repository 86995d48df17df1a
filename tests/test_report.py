"""The report without a browser: what it says, that it is safe, and that it is always the same."""

import base64
import hashlib
import html
import json
import re
import socket
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from cje.cli import main
from cje.data.tables import read_table, write_table
from cje.errors import CJEError
from cje.labelling.agreement import agreement
from cje.results.answer import raters
from cje.results.opening import open_run
from cje.results.report import write_report
from cje.results.report.answers import hundredths, log_ratios
from cje.results.report.axis import axis_over
from cje.results.report.redaction import redacted
from cje.results.run import Run
from cje.results.view import RunView
from cje.results.words import (
    interval,
    level,
    listed,
    number,
    p_value,
    percent,
    set_percent,
    signed,
)
from cje.settings import load_settings
from pipeline import new_project, rerun, run
from reported import write_run

HOSTILE = (
    "<script>alert('x')</script>",
    "</script><img src=x onerror=alert(1)>",
    "\N{PILE OF POO}\N{ZERO WIDTH SPACE}\N{RIGHT-TO-LEFT OVERRIDE}שלום \x00 {{ 7 * 7 }}",
    "long " * 20_000,
    None,
    "",
)
VOID = {"meta", "input", "br", "img", "circle", "path", "rect", "polyline"}


class Page(HTMLParser):
    """Texts by element: `rows` of table cells by the id of the section, and all the `words`."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.section, self.rows, self.words, self.open = "", {}, [], []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "section":
            self.section = dict(attributes)["id"]
        if tag == "tr":
            self.rows.setdefault(self.section, []).append([])
        if tag in ("td", "th"):
            self.rows[self.section][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag
        return super().handle_endtag(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style"):
            return
        self.words.append(data)
        if "td" in self.open or "th" in self.open:
            self.rows[self.section][-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def opened(folder: Path) -> RunView:
    return RunView(Run(folder, load_settings(folder / "params.yaml")))


def written(folder: Path, **options) -> str:
    write_report(opened(folder), folder / "report.html", **options)
    return (folder / "report.html").read_text(encoding="utf-8")


def unpacked(page: str, kind: str) -> list:
    """The chunks of a kind, one after the other; `index` has one."""
    found = re.findall(rf'<script type="text/plain" id="{kind}[-0-9]*">([^<]*)</script>', page)
    return [json.loads(zlib.decompress(base64.b64decode(chunk))) for chunk in found]


def rows_of(page: str, kind: str) -> list:
    """The rows of all chunks of a kind."""
    return [row for chunk in unpacked(page, kind) for row in chunk]


def name_of(cell: str) -> str:
    """A policy's name without what is said about it."""
    return re.split("sim/|wrote the logs", cell)[0]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    repo = new_project(tmp_path_factory.mktemp("project"))
    rerun(repo, max_samples=120, target_labels=40, oracle_samples=60)
    return repo


@pytest.fixture(scope="module")
def page(project) -> str:
    said = run(sys.executable, "-m", "cje.cli", "report", cwd=project)
    assert said.startswith("Wrote outputs/report.html (0.")
    return (project / "outputs/report.html").read_text(encoding="utf-8")


def test_the_answer_comes_first_and_its_numbers_are_those_of_the_metrics(project, page):
    results = json.loads((project / "metrics/estimates.json").read_text())["results"]
    checked = json.loads((project / "metrics/validation.json").read_text())["results"]
    rows = Page(page).rows["answer"][1:]
    known = RunView(open_run(project))
    best = known.best_policy
    title = re.search(r"<h1[^>]*>(.*?)</h1>", page)[1]
    assert best in title and number(results[best]["v_hat"]) in title
    names = [name_of(row[0]) for row in rows]
    assert names == known.policies and set(names) == {*results}
    for (policy, found), row in zip(known.table.iterrows(), rows, strict=True):
        value = results[policy]
        assert row[1] == f"{value['v_hat']:.3f}"
        assert row[2] == f"{value['ci_low']:.3f} to {value['ci_high']:.3f}"
        assert row[4:6] == [f"{found[name]:.3f}" for name in ("raw_judge", "calibrated_judge")]
        assert row[6].startswith(f"{value['labels']} own label")
        assert ("exact weights" in row[6]) == (value["evidence"] == "both")
        truth = checked[policy]
        assert row[7].startswith(f"{truth['oracle_truth']:.3f} ± {truth['se_truth']:.3f}")
        assert row[7].endswith("inside" if truth["covered"] else "outside")
        assert row[8].strip() == truth["verdict"]


def test_a_refused_number_is_struck_out_and_in_no_comparison_or_sum(tmp_path):
    page = written(write_run(tmp_path / "run"))
    rows = {name_of(row[0]): row for row in Page(page).rows["answer"][1:]}
    assert list(rows)[-1] == "strange" and rows["strange"][8].strip() == "refused"
    assert f"<s>{rows['strange'][1]}</s>" in page and rows["strange"][6] == "nothing"
    header, *cells = Page(page).rows["comparisons"]
    for row in cells:
        for name, cell in zip(header[1:], row[1:], strict=True):
            if row[0] != name:
                assert (cell == "refused") == ("strange" in row[0] + name)
    text = Page(page).text
    assert "1 of 4 policies was refused, so do not rely on its number: strange" in text
    assert "What would fix what is refused: strange: log wider." in text
    known = opened(tmp_path / "run")
    error = known.table.drop("strange")["absolute_error"].mean()
    assert "Mean distance to the truth of those that are not refused: raw judge" in text
    assert f", estimate {error:.3f}. " in text


def test_notes_come_last_and_change_nothing(tmp_path):
    text = Page(written(write_run(tmp_path / "run"))).text
    issues, notes = text.split("Notes, which change no verdict")
    assert "missing_support" in issues and "self_preference" not in issues
    assert "all policies : the judge judges itself" in notes


def test_evidence_comparisons_and_rails_are_those_of_the_metrics(project, page):
    known, parsed = RunView(open_run(project)), Page(page)
    diagnostics = json.loads((project / "metrics/diagnostics.json").read_text())
    evidence = {row[0]: row for row in parsed.rows["evidence"][: 1 + len(diagnostics)]}
    for policy, facts in diagnostics.items():
        assert evidence[policy][2] == facts["why"]
        used = facts["weights"] != "none"
        assert evidence[policy][3].strip() == (f"{100 * facts['ess']:.1f} %" if used else "none")
        assert used or evidence[policy][7] == "not used"
        if not facts["is_base"]:
            assert evidence[policy][4].strip() == f"{100 * facts['sequence_ess']:.1f} %"
            assert evidence[policy][6] == facts["reach"]
    header, *rows = parsed.rows["comparisons"]
    assert [name.split()[0] for name in header[1:]] == known.policies
    for row in rows:
        for name, cell in zip(header[1:], row[1:], strict=True):
            a, b = row[0].split()[0], name.split()[0]
            if {a, b} & set(known.refused):
                assert a == b or cell == "refused"
            elif a != b:
                pair = known.difference(a, b)
                assert cell.startswith(signed(pair.difference))
                assert p_value(pair.p_value_corrected) in cell
    for violation in known.violations:
        assert violation.code in parsed.text
        assert violation.message in parsed.text and violation.remedy in parsed.text


def test_the_same_run_gives_the_same_bytes(project, page):
    run(sys.executable, "-m", "cje.cli", "report", "--out", "again.html", cwd=project)
    assert (project / "again.html").read_text(encoding="utf-8") == page


def test_origin_is_told_and_the_machine_is_not(project, page):
    text = Page(page).text
    assert run("git", "rev-parse", "HEAD", cwd=project).strip() in text
    assert "with changes that are not committed" in text and "params.yaml" in text
    assert re.search(r"data/rewards.parquet [0-9a-f]{32}", text)
    assert f"python {sys.version.split()[0]}" in text and "scipy" in text
    for name in (str(project), str(Path.home()), socket.gethostname()):
        assert name not in text


def test_nothing_is_asked_of_a_network(page):
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", page)
    assert "@import" not in page and "url(" not in page
    policy = html.unescape(re.search(r'Policy" content="([^"]*)"', page)[1])
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    for tag in ("script", "style"):
        attributes = ' type="module"' if tag == "script" else ""
        text = re.search(rf"<{tag}{attributes}>(.*?)</{tag}>", page, re.S)[1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert " style=" not in page and " onclick=" not in page


def test_log_ratios_are_those_of_the_tables_and_add_up(project, page):
    known = open_run(project)
    index, rows = unpacked(page, "index")[0], rows_of(page, "tokens")
    targets = known.target_logps.set_index(["uid", "policy"])
    for log, row in zip(known.logs.itertuples(), rows, strict=True):
        assert row["t"] == list(log.tokens)
        for policy, ratios in zip(index["policies"], row["r"], strict=True):
            wanted = targets.loc[(log.uid, policy), "token_logprobs"] - log.token_logprobs
            told = np.array([-np.inf if ratio == "x" else ratio / 100 for ratio in ratios])
            assert (np.isneginf(told) == np.isneginf(wanted)).all()
            fine = np.isfinite(wanted)
            assert np.abs(told[fine] - wanted[fine]).max(initial=0) < 0.01 + 1e-9
            assert abs(told[fine].sum() - wanted[fine].sum()) <= 0.005 + 1e-9


def test_answers_and_scores_are_those_of_the_tables(project, page):
    known = open_run(project)
    index, rows = unpacked(page, "index")[0], rows_of(page, "texts")
    assert len(rows) == 120 == len(index["excerpts"]) == len(index["chunks"])
    draws = known.draws.set_index(["uid", "policy", "draw"])
    for place, (log, row) in enumerate(zip(known.logs.itertuples(), rows, strict=True)):
        assert (row["u"], row["p"], row["a"][0]["a"]) == (log.uid, log.prompt, log.answer)
        assert [one["g"] for one in row["a"]] == list(range(6))
        for one in row["a"][1:]:
            policy = index["policies"][one["g"] - 1]
            draw = draws.loc[(log.uid, policy, one["d"])]
            assert one["a"] == draw["answer"] and one["f"] == draw["finish_reason"]
            assert one["j"] == pytest.approx(draw["judge_raw"], abs=1e-6)
            weight = index["weights"][one["g"] - 1][place]
            if policy in known.weights:
                assert weight == pytest.approx(known.weights.loc[log.uid, policy], abs=1e-6)
            else:
                assert weight is None
            label = draw["oracle_score"], draw["validation_score"]
            assert one.get("c", 0) == (np.isnan(label[0]) and not np.isnan(label[1]))


def test_text_of_others_never_becomes_markup(tmp_path):
    names = ("<script>alert(1)</script>", "'\"><b>bold</b>", "{{7*7}}")
    page = written(write_run(tmp_path / "run", policies=names, texts=HOSTILE))
    parsed = Page(page)
    plain = Page(written(write_run(tmp_path / "plain")))
    assert {"b", "img"} & set(parsed.tags) == {"b", "img"} & set(plain.tags)
    assert len(re.findall("<script", page)) == parsed.tags.count("script")
    assert names[0] in parsed.text and names[2] in parsed.text and "alert('x')" not in page
    rows = rows_of(page, "texts")
    assert [row["a"][0].get("a") for row in rows[: len(HOSTILE)]] == list(HOSTILE)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"source": "files", "logps": False, "labels": False},
            "No labels are left beside those that the estimates use",
        ),
        ({"verdicts": ("refuse",)}, "No estimate can be trusted"),
        ({"verdicts": ("refuse",)}, "The truth is known only of policies that are refused."),
        (
            {"policies": ("only",), "verdicts": ("reliable", "refuse")},
            "A comparison needs two policies that are not refused.",
        ),
        ({"policies": tuple(f"{'long-' * 12}{n}" for n in range(24))}, "8 of 25 policies"),
    ],
)
def test_other_runs_have_their_report_too(tmp_path, options, words):
    text = Page(written(write_run(tmp_path / "run", **options))).text
    assert words in text and "nan" not in text.lower().split()


def test_what_to_do_where_all_are_refused(tmp_path):
    text = Page(written(write_run(tmp_path / "run", verdicts=("refuse",)))).text
    assert "What would fix it: better, clone, strange and base: log wider." in text


def test_the_first_prompts_alone_and_none(tmp_path):
    folder = write_run(tmp_path / "run")
    page = written(folder, answers=5)
    assert "The first 5 of 45 prompts" in Page(page).text
    assert len(unpacked(page, "index")[0]["excerpts"]) == 5
    page = written(folder, answers=0)
    assert "The answers were left out" in Page(page).text and not unpacked(page, "index")


def test_fresh_answers_of_the_base_policy_are_shown_with_its_logged_ones(tmp_path):
    folder = write_run(tmp_path / "run", policies=("better",))
    path = folder / "data/draws.parquet"
    draws = read_table(path, "draws")
    write_table(pd.concat([draws.assign(policy="base"), draws]), "draws", path)
    for prompt in rows_of(written(folder), "texts"):
        assert [(answer["g"], answer["d"]) for answer in prompt["a"]] == [(0, -1), (0, 0), (1, 0)]


def test_errors_say_what_to_do(tmp_path, monkeypatch):
    folder = write_run(tmp_path / "run")
    with pytest.raises(CJEError, match="--answers: -1 is not allowed; give 0 or more"):
        write_report(opened(folder), tmp_path / "x.html", answers=-1)
    with pytest.raises(CJEError, match=r"this is a folder, and a file is needed"):
        write_report(opened(folder), folder)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="error: nowhere: no such folder"):
        main(["report", "--run-dir", "nowhere"])


def test_log_ratios_need_every_token_of_both():
    log = {"tokens": ["a", "b"], "token_logprobs": np.array([-1.0, -2.0])}
    assert log_ratios(log, {"token_logprobs": np.array([-1.5, -np.inf])}) == [-50, "x"]
    for unfit in (None, {"token_logprobs": None}, {"token_logprobs": np.array([-1.0])}):
        assert log_ratios(log, unfit) is None
    assert log_ratios(log, {"token_logprobs": np.array([-1.0, np.nan])}) is None
    assert log_ratios(log | {"tokens": None}, {"token_logprobs": np.array([-1.0, -2.0])}) is None


def test_hundredths_add_up():
    values = np.array([0.004, 0.004, 0.004, -np.inf, -0.3333, 2.5])
    steps = hundredths(values)
    assert steps[3] == "x"
    assert sum(step for step in steps if step != "x") == round(100 * (0.012 - 0.3333 + 2.5))
    assert hundredths(np.array([])) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/home/ann/prompts.jsonl", "…/prompts.jsonl"),
        ("local//srv/models/m.gguf", "local/…/m.gguf"),
        ("~ann/x.csv", "…/x.csv"),
        (r"C:\Users\ann\x.csv", "…/x.csv"),
        ("no answer from 'http://10.0.0.1:8000/v1'", "no answer from '(address left out)'"),
        ("data/prompts/arena.jsonl", "data/prompts/arena.jsonl"),
        ("openai/gpt-4o", "openai/gpt-4o"),
    ],
)
def test_places_on_the_machine_are_left_out(text, told):
    assert redacted(text) == told


def test_settings_that_name_the_machine(tmp_path):
    folder = write_run(tmp_path / "run")
    path = folder / "params.yaml"
    values = YAML(typ="safe").load(path.read_text())
    values |= {"prompts": "/home/ann/secret/asked.jsonl", "base_url": "http://ann-host:8000/v1"}
    values["policies"]["better"]["model"] = "local//home/ann/models/m.gguf"
    YAML().dump(values, path)
    page = written(folder)
    assert "/home/ann" not in page and "ann-host" not in page
    assert "…/asked.jsonl" in page and "local/…/m.gguf" in page


def test_what_metrics_leave_out_is_not_known(tmp_path):
    folder = write_run(tmp_path / "run")
    for name, key in (("calibration", "spearman"), ("diagnostics", "ess")):
        path = folder / f"metrics/{name}.json"
        values = json.loads(path.read_text())
        values.get("better", values).pop(key)
        path.write_text(json.dumps(values))
    text = Page(written(folder)).text
    assert (
        "Rank correlation (Spearman) \N{EN DASH}" in text
        and "it reaches them \N{EN DASH} 31.0 %" in text
    )


def test_words_and_scales():
    assert listed(["a", "b", "c"]) == "a, b and c" and listed(list("abcd"), 3) == "a, b and 2 more"
    assert signed(-0.5) == "\N{MINUS SIGN}0.500" and signed(0.25) == "+0.250"
    for unknown in (None, float("nan")):
        assert {words(unknown) for words in (number, signed, percent)} == {"\N{EN DASH}"}
        assert interval(unknown, unknown) == "\N{EN DASH}"
    shares = (0.11, 0.343, 1.0, 0.0004, 0.0)  # of one column
    assert list(map(percent, shares)) == ["11.0 %", "34.3 %", "100.0 %", "< 0.1 %", "0.0 %"]
    assert set_percent(0.05) == "5 %" and level(0.05) == "95 %"
    assert p_value(0.7) == "p = 0.700" and p_value(0.0001) == "p < 0.001"
    assert p_value(float("nan")) == "p \N{EN DASH}"
    scale = axis_over([0.2, 0.4, float("nan")], 0, 100)
    assert scale.at(0.3) == 50 and scale.at(9) == 100
    assert [label for _, label in scale.ticks] == ["0.20", "0.25", "0.30", "0.35", "0.40"]
    assert len(axis_over([0.5], 0, 1).ticks) > 2 and axis_over([], 0, 1).low < 0


def test_raters_leave_a_ceiling_for_the_judge(tmp_path):
    folder = write_run(tmp_path / "run")
    assert "Ceiling" not in Page(written(folder)).text and not raters(opened(folder))
    agreed = agreement([[2.0, 4.0], [7.0, 9.0], [1.0, 1.0], [5.0, 6.0], [8.0, 10.0], [3.0]])
    told = {"labels": 6, "raters": vars(agreed)}
    (folder / "metrics/labels.json").write_text(json.dumps(told), encoding="utf-8")
    text, limit = Page(written(folder)).text, f"{agreed.ceiling:.3f}"
    for name, value in (("Raters' agreement", agreed.alpha), ("Noise of one rater", agreed.noise)):
        assert f"{name} {value:.3f}" in text
    assert f"Ceiling {limit} no judge's correlation with these labels can be higher" in text
    (sentence,) = raters(opened(folder))
    assert "5 answers" in sentence and sentence.endswith(f"can be higher than {limit}.")
