"""What DVC itself shows: plots on one page, metrics side by side, experiments in a table."""

import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline import ROOT, experiment, finished_project, rerun, run

BESIDE = ("v_hat", "half_width", "verdict")  # of a policy, in this order
PLOTS = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
TITLES = [spec["title"] for plot in PLOTS if isinstance(plot, dict) for spec in plot.values()]
FILES = [next(iter(plot)) if isinstance(plot, dict) else plot for plot in PLOTS]


@pytest.fixture(scope="module")
def repo(tmp_path_factory) -> Path:
    """Two temperatures: 0.7 committed, 0.4 in the workspace."""
    repo = finished_project(tmp_path_factory)
    experiment(repo, "--name", "cooler", temperature=0.4)
    return repo


def vega_specs(page: str) -> list[dict]:
    """The drawings that a page of DVC's hands to Vega."""
    return [json.loads(text) for text in re.findall(r"var spec = (\{.*?\});\n", page, re.DOTALL)]


@pytest.fixture(scope="module")
def shown(repo) -> Path:
    """The page of all plots."""
    run("dvc", "plots", "show", "-o", "dvc_plots", cwd=repo)  # which git ignores
    return repo / "dvc_plots/index.html"


def test_one_page_shows_every_plot_under_its_title(shown):
    page = shown.read_text(encoding="utf-8")
    assert [spec["title"]["text"] for spec in vega_specs(page)] == TITLES
    assert "<DVC_METRIC" not in page
    images = re.findall(r'<img[^>]*src="([^"]+)"', page)
    assert len(images) == 5 and all(
        (shown.parent / image).stat().st_size > 10_000 for image in images
    )
    assert "could not be loaded without a network" in page


def test_two_runs_are_drawn_together(repo, tmp_path):
    found = json.loads(run("dvc", "plots", "diff", "--json", "HEAD", "workspace", cwd=repo))
    assert not found.get("errors")
    assert set(found["data"]) == set(FILES)
    for drawings in found["data"].values():
        assert {r for d in drawings for r in d["revisions"]} == {"HEAD", "workspace"}
    run("dvc", "plots", "diff", "-o", str(tmp_path), "HEAD", "workspace", cwd=repo)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    for spec in vega_specs(page):
        assert {row["rev"] for row in spec["data"]["values"]} == {"HEAD", "workspace"}


def test_the_drawings_have_the_columns_that_they_name(shown):
    page = shown.read_text(encoding="utf-8")
    for spec in vega_specs(page):
        named = set(re.findall(r'"field": "(\w+)"', json.dumps(spec)))
        made = set(re.findall(r'"as": "(\w+)"', json.dumps(spec)))
        assert named - made <= set(spec["data"]["values"][0]), spec["title"]


def test_a_difference_between_two_temperatures_reads_well(repo):
    lines = run("dvc", "metrics", "diff", cwd=repo).splitlines()
    assert lines[0].split() == ["Path", "Metric", "HEAD", "workspace", "Change"]
    assert all(line.startswith("metrics/summary.json") for line in lines[1:])
    policies = len(json.loads((repo / "metrics/estimates.json").read_text())["results"])
    assert len(lines) <= 7 + 3 * policies and max(map(len, lines)) <= 80
    rows = {line.split()[1]: line.split()[2:] for line in lines[1:]}
    summary = json.loads((repo / "metrics/summary.json").read_text())
    for policy, row in estimates(repo).items():
        found = summary[policy]
        assert found["v_hat"] == row["v_hat"]
        assert found["half_width"] == pytest.approx((row["ci_high"] - row["ci_low"]) / 2, abs=1e-5)
        assert float(rows[f"{policy}.v_hat"][1]) == pytest.approx(found["v_hat"], abs=1e-5)
    whole = run("dvc", "metrics", "diff", "--all", cwd=repo).splitlines()[1:]
    names = [line.split()[1] for line in whole]
    for policy in summary:
        if isinstance(summary[policy], dict):
            first = names.index(f"{policy}.half_width")
            assert names[first : first + 3] == [f"{policy}.{name}" for name in sorted(BESIDE)]


def test_the_summary_says_what_the_other_files_say(repo):
    files = {
        name: json.loads((repo / f"metrics/{name}.json").read_text())
        for name in ("summary", "validation", "guard_rails", "calibration")
    }
    found, verdicts = files["summary"], files["validation"]["results"]
    rails = files["guard_rails"]
    assert found["violations"] == rails["critical"] + rails["warning"]
    assert found["spearman"] == files["calibration"]["spearman"]
    assert found["coverage"] == files["validation"]["coverage"]
    assert found["error"] == files["validation"]["mean_absolute_error"]
    assert found["refused"] == sum(row["verdict"] == "refuse" for row in verdicts.values())
    for policy, row in verdicts.items():
        assert found[policy]["verdict"] == row["verdict"]
        whole = list(found[policy]) == ["v_hat", "half_width", "verdict"]
        assert whole == (row["verdict"] != "refuse") and (whole or len(found[policy]) == 1)
    kept = {p: found[p]["v_hat"] for p in verdicts if "v_hat" in found[p]}
    assert found["best"] == max(kept, key=kept.get)


def test_any_other_file_of_metrics_is_compared_when_it_is_named(repo):
    files = [f"metrics/{name}.json" for name in ("estimates", "diagnostics", "validation", "cost")]
    output = run("dvc", "metrics", "diff", "--all", "--targets", *files, cwd=repo)
    for file in files:
        assert sum(file in line for line in output.splitlines()) > 5


def test_experiments_fit_a_screen_with_what_is_known_of_each_estimate(repo):
    output = run(
        "dvc", "exp", "show", "--only-changed", "--no-pager", "--drop",
        "Created|violations|error|spearman|.*[./]", "--keep", "(better|base)[.]",
        cwd=repo, COLUMNS="160",
    )  # fmt: skip
    assert "…" not in output and "cooler" in output and "temperature" in output
    assert max(map(len, output.splitlines())) <= 160
    head = next(line for line in output.splitlines() if "Experiment" in line).split()
    shown = [f"{policy}.{name}" for policy in ("better", "base") for name in BESIDE]
    assert [name for name in head if "." in name] == shown and "clone" not in output


def test_another_alpha_shows_in_the_half_widths_and_moves_no_estimate(repo):
    rerun(repo, temperature=0.4, alpha=0.2)
    lines = run("dvc", "metrics", "diff", "cooler", "workspace", cwd=repo).splitlines()[1:]
    rows = {line.split()[1]: line.split()[-1] for line in lines}
    widths = [rows[f"{policy}.half_width"] for policy in estimates(repo)]
    assert all(float(change) < 0 for change in widths)
    assert not any(name.endswith(".v_hat") for name in rows)


def test_a_refused_policy_has_a_verdict_and_no_number(repo):
    rerun(repo, target_labels=0)
    summary = json.loads((repo / "metrics/summary.json").read_text(encoding="utf-8"))
    refused = {policy for policy in estimates(repo) if summary[policy] == {"verdict": "refuse"}}
    assert "unhelpful" in refused and len(refused) == summary["refused"]
    lines = run("dvc", "metrics", "diff", "cooler", "workspace", cwd=repo).splitlines()
    rows = {line.split()[1]: line.split()[2:] for line in lines}
    assert rows["unhelpful.v_hat"][1:] == rows["unhelpful.half_width"][1:] == ["-", "-"]
    assert rows["unhelpful.verdict"][1] == "refuse"


def estimates(repo: Path) -> dict:
    """The rows of metrics/estimates.json by policy."""
    return json.loads((repo / "metrics/estimates.json").read_text(encoding="utf-8"))["results"]
