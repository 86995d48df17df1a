"""The figures: the same bytes every time, no case that breaks them, data that says the same."""

import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest

from cje.results import plots
from cje.results.rows import DifferenceRow, EstimateRow, OverlapRow
from cje.results.theme import STATUS_COLOURS
from cje.vocabulary import Conclusion, Evidence, Status, Verdict, WeightKind

NAMES = ["better", "openai/gpt-4o-mini-2024-07-18-with-a-long-prompt", "策略 $x$", "d"]


def estimates(count=4, base=None, judges=(None,) * 4):
    """Rows of estimates, the last two refused, the last one without a number."""
    verdicts = [Verdict.RELIABLE, Verdict.CAUTION, Verdict.REFUSE, Verdict.REFUSE]
    rows = zip(NAMES, (0.7, 0.6, 0.5, None), verdicts, judges, strict=True)
    return [
        EstimateRow(
            policy=name, is_base=name == base, v_hat=value, se=0.02,
            ci_low=value and value - 0.05, ci_high=value and value + 0.05, verdict=verdict,
            evidence=Evidence.LABELS, labels=30, raw_judge=judge,
        )
        for name, value, verdict, judge in rows
    ][:count]  # fmt: skip


def difference(a, b, value, p_value=0.03):
    conclusion = "same" if p_value >= 0.05 else "better" if value > 0 else "worse"
    return DifferenceRow(
        a, b, value, 0.02, value - 0.05, value + 0.05, p_value, p_value, Conclusion(conclusion)
    )


def pairs(count=4):
    """The pairs of those of `estimates` that are not refused: at most one."""
    return [difference(NAMES[0], NAMES[1], 0.1)] if count > 1 else []


def against_the_base(count=3):
    """Differences from the policy `base`, and rows of all policies with a refused one."""
    values = zip(NAMES, (0.1, 0.02, -0.2), (0.001, 0.4, 0.0), strict=False)
    found = [difference(name, "base", value, p) for name, value, p in values][:count]
    kept = [replace(row, verdict=Verdict.RELIABLE) for row in estimates(3)[:count]]
    return found, [*kept, replace(estimates(1)[0], policy="base", is_base=True), estimates()[3]]


def weights(count=4):
    rng = np.random.default_rng(0)
    by_policy = {name: rng.exponential(size=300) for name in NAMES[: count - 1]}
    rows = [
        OverlapRow(
            policy=name, is_base=False, weights=WeightKind.SEQUENCE, why="", status=Status.GOOD,
            ess=0.5, mean_weight=1.0, max_share=0.02, zero_share=0.0, extreme_share=0.0,
            exact_ess=exact, exact_mean_weight=None, reach=None,
        )
        for name, exact in zip(NAMES, (0.5, None, 0.5, 0.2), strict=True)
    ]  # fmt: skip
    return by_policy, rows[:count]


def labels():
    rng = np.random.default_rng(1)
    judge = rng.integers(0, 11, 80) / 10
    return judge, np.clip(judge + 0.1 * rng.normal(size=80), 0, 1)


def calibration(path, judge, oracle, **more):
    arrays = {"judge_raw": judge, "oracle_score": oracle}
    curve = {"curve_x": np.linspace(0, 1, 9), "curve_y": np.linspace(0.1, 0.9, 9)}
    plots.calibration_curve(path, **arrays, **curve, spearman=0.8, **more)


FIGURES = {
    "calibration": lambda path: calibration(path, *labels()),
    "calibration with draws": lambda path: calibration(
        path, *labels(), draw_scores={"a": np.array([0.1, 0.5, np.nan]), "empty": np.array([])}
    ),
    "calibration without labels": lambda path: calibration(path, np.array([]), np.array([])),
    "calibration of a constant": lambda path: calibration(path, np.full(9, 0.5), np.full(9, 0.5)),
    "estimates": lambda path: plots.estimates(path, estimates(), title="No clear winner"),
    "estimates with the base": lambda path: plots.estimates(path, estimates(base="d"), title=""),
    "one estimate": lambda path: plots.estimates(path, estimates(1), title=""),
    "no estimate": lambda path: plots.estimates(path, [], title=""),
    "only refused": lambda path: plots.estimates(path, estimates()[2:], title=""),
    "estimates and the raw judge": lambda path: plots.estimates(
        path, estimates(judges=(0.72, 0.9, 0.1, None)), title="No clear winner"
    ),
    "differences": lambda path: plots.differences(path, *against_the_base()),
    "no differences": lambda path: plots.differences(path, *against_the_base(0)),
    "learned weights": lambda path: plots.weight_dashboard(
        path,
        weights()[0],
        [replace(row, weights=WeightKind.MARGINAL, ess=0.9) for row in weights()[1]],
    ),
    "comparisons": lambda path: plots.comparison_heatmap(path, pairs(), estimates()),
    "comparisons with the base": lambda path: plots.comparison_heatmap(
        path, pairs(), estimates(base="better")
    ),
    "nothing to compare": lambda path: plots.comparison_heatmap(path, [], estimates(1)),
    "weights": lambda path: plots.weight_dashboard(path, *weights()),
    "no weights": lambda path: plots.weight_dashboard(path, {}, weights()[1]),
}


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_is_a_png_of_the_same_bytes_each_time(figure, tmp_path):
    paths = [tmp_path / name / "figure.png" for name in "ab"]
    for path in paths:
        FIGURES[figure](path)
    first, second = (path.read_bytes() for path in paths)
    assert first == second and first.startswith(b"\x89PNG")
    width, height = (int.from_bytes(first[i : i + 4], "big") for i in (16, 20))
    assert (width, height) == (1600, 1000)


def test_a_users_style_changes_nothing(tmp_path):
    import matplotlib

    plots.estimates(tmp_path / "a.png", estimates(), title="a")
    with matplotlib.rc_context({"font.size": 30, "figure.dpi": 20, "axes.facecolor": "red"}):
        plots.estimates(tmp_path / "b.png", estimates(), title="a")
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_font_of_one_weight_gives_no_warnings(tmp_path, monkeypatch, caplog):
    from matplotlib import font_manager

    from cje.results.plots import style

    fonts = font_manager.fontManager.ttflist
    sans = next(font for font in fonts if font.name == "DejaVu Sans" and font.style == "normal")
    one = replace(sans, name="Noto Sans CJK SC", weight=350)
    others = [font for font in fonts if font.name != one.name]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [*others, one])
    monkeypatch.setattr(style, "installed_fonts", style.installed_fonts.__wrapped__)
    plots.estimates(tmp_path / "a.png", estimates(2), title="a")  # has bold words and others
    assert one.name in style.installed_fonts() and not caplog.messages


def test_letters_that_no_font_has_are_told_once_and_without_a_warning(tmp_path, capsys):
    named = [replace(row, policy=f"{row.policy}\U00013000") for row in estimates(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.estimates(tmp_path / "a.png", named, title="a")
        plots.estimates(tmp_path / "b.png", named, title="a")
    told = capsys.readouterr().err
    assert told.startswith("note: no font here has \U00013000: ") and told.count("note:") == 1


def test_data_of_the_estimates_comparisons_and_differences():
    data = plots.estimates_data(estimates(2))
    assert data.columns.tolist() == [
        "policy", "v_hat", "ci_low", "ci_high", "verdict", "raw_judge", "oracle_truth"
    ]  # fmt: skip
    assert data["v_hat"].tolist() == [0.7, 0.6] and data["ci_low"].tolist() == [0.65, 0.55]
    assert data["oracle_truth"].isna().all()
    both = plots.comparison_data(pairs(), NAMES)
    assert both.values.tolist() == [[NAMES[0], NAMES[1], 0.03], [NAMES[1], NAMES[0], 0.03]]
    data = plots.differences_data(against_the_base()[0])
    assert data.columns.tolist() == ["policy", "difference", "ci_low", "ci_high", "conclusion"]
    assert data["conclusion"].tolist() == ["better", "same", "worse"]


def words_of(monkeypatch, tmp_path, figure, *arguments, **options) -> list[str]:
    """Every text of a figure."""
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    found: list[str] = []
    save = Figure.savefig

    def read(self, *given, **more):
        save(self, *given, **more)
        found.extend(text.get_text() for text in self.findobj(Text))

    monkeypatch.setattr(Figure, "savefig", read)
    figure(tmp_path / "figure.png", *arguments, **options)
    return found


def test_a_refused_policy_has_no_number_in_the_heat_map(monkeypatch, tmp_path):
    words = words_of(
        monkeypatch, tmp_path, plots.comparison_heatmap, pairs(), estimates(base=NAMES[1])
    )
    assert "1 of 1 pair of policies clearly different (Holm-corrected p < 0.05)" in words
    assert words.count("refused") == 10 + 1 and words.count("+0.100*\np = 0.030") == 1
    assert "better" in words and "d (refused)" in words


def test_the_differences_say_what_the_comparisons_allow(monkeypatch, tmp_path):
    found, rows = against_the_base()
    words = words_of(monkeypatch, tmp_path, plots.differences, found, rows)
    assert "better is ahead of base by 0.100" in words
    assert words.count("refused") == 1 and "+0.100  +0.050 to +0.150" in words
    same = [replace(row, conclusion=Conclusion.SAME) for row in found]
    words = words_of(monkeypatch, tmp_path, plots.differences, same, rows)
    assert "No policy is ahead of base beyond chance" in words


def test_a_refused_policy_does_not_stretch_the_axis(monkeypatch, tmp_path):
    from matplotlib.axes import Axes

    limits = []
    monkeypatch.setattr(Axes, "get_xlim", lambda self: limits.append(self.viewLim.intervalx) or
                        tuple(self.viewLim.intervalx))  # fmt: skip
    rows = [*estimates(2), replace(estimates(3)[2], ci_low=-0.2, ci_high=1.2)]
    plots.estimates(tmp_path / "figure.png", rows, title="a")
    low, high = limits[0]
    assert 0.5 < low < 0.55 and 0.75 < high < 0.8


def test_weights_that_no_number_uses_are_shown_and_not_judged(monkeypatch, tmp_path):
    by_policy, rows = weights()
    statuses = (Status.GOOD, Status.WARNING, Status.GOOD, Status.CRITICAL)
    rows = [replace(row, status=status) for row, status in zip(rows, statuses, strict=True)]
    words = words_of(monkeypatch, tmp_path, plots.weight_dashboard, by_policy, rows)
    assert "Policies by status: 2 good, 1 warning, 0 critical; 1 use no weights" in words
    assert "20.0 %, not used" in words


def test_lines_of_weights_have_the_colour_of_the_status_and_differ(monkeypatch, tmp_path):
    from matplotlib.axes import Axes

    lines, plot = [], Axes.plot
    monkeypatch.setattr(Axes, "plot", lambda axes, *a, **k: lines.append(k) or plot(axes, *a, **k))
    by_policy, rows = weights()
    rows[1] = replace(rows[1], status=Status.WARNING)
    plots.weight_dashboard(tmp_path / "figure.png", by_policy, rows)
    first, second, third = lines[:3]
    assert first["color"] == third["color"] == STATUS_COLOURS[Status.GOOD]
    assert second["color"] == STATUS_COLOURS[Status.WARNING]
    assert first["linestyle"] != third["linestyle"]


def test_data_of_the_weights_are_shares_of_the_heaviest():
    data = plots.weights_data({"a": np.array([4.0, 1, 2, 1])})
    np.testing.assert_allclose(data["rank_share"], [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(data["weight_share"], [0.5, 0.75, 0.875, 1])


def test_data_of_the_calibration_are_bin_means_and_the_curve():
    judge = np.repeat([0.2, 0.8], 10)
    oracle = np.concatenate([np.full(10, 0.1), np.linspace(0.6, 1, 10)])
    data = plots.calibration_curve_data(judge, oracle, np.array([0.0, 1]), np.array([0.1, 0.9]))
    bins = data[data["kind"] == "binned mean"]
    np.testing.assert_allclose(bins["judge_raw"], [0.2, 0.8])
    np.testing.assert_allclose(bins["oracle_score"], [0.1, 0.8])
    assert data[data["kind"] == "fitted"]["oracle_score"].tolist() == [0.1, 0.9]


def test_importing_the_figures_loads_no_pyplot():
    code = "import sys, cje.results.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
