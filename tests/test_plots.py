"""The figures: the same bytes every time, no case that breaks them, data that says the same."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cje
from cje.results import plots, theme

NAMES = ["better", "openai/gpt-4o-mini-2024-07-18-with-a-long-prompt", "策略 $x$", "d"]


def table(count=4):
    names = NAMES[:count]
    v_hat = np.array([0.7, 0.6, 0.5, np.nan])[:count]
    verdict = ["reliable", "caution", "refuse", "refuse"][:count]
    interval = {"ci_low": v_hat - 0.05, "ci_high": v_hat + 0.05}
    return pd.DataFrame({"v_hat": v_hat, **interval, "verdict": verdict}, index=names)


def squares(count=4):
    names = NAMES[:count]
    p_values = pd.DataFrame(0.03, index=names, columns=names)
    values = table(count)["v_hat"].fillna(0.4).to_numpy()
    differences = pd.DataFrame(values[:, None] - values, index=names, columns=names)
    verdicts = table(count)["verdict"]
    for name in verdicts.index[verdicts == "refuse"]:  # in no comparison
        p_values.loc[name] = p_values[name] = differences.loc[name] = differences[name] = np.nan
    return p_values, differences, verdicts


def pairs_with_the_base(count=3):
    """Differences from the policy `base`, and verdicts with a refused one."""
    found = pd.DataFrame(
        {
            "difference": [0.1, 0.02, -0.2], "ci_low": [0.05, -0.03, -0.25],
            "ci_high": [0.15, 0.07, -0.15], "p_value_corrected": [0.001, 0.4, 0.0],
            "told": ["better", "same", "worse"],
        },
        index=NAMES[:3],
    ).iloc[:count]  # fmt: skip
    verdicts = pd.Series({**dict.fromkeys(NAMES[:count], "reliable"), "d": "refuse"})
    return found, pd.concat([verdicts, pd.Series({"base": "reliable"})])


def weights(count=4):
    rng = np.random.default_rng(0)
    by_policy = {name: rng.exponential(size=300) for name in NAMES[: count - 1]}
    summary = pd.DataFrame(
        {
            "ess": 0.5, "mean_weight": 1.0, "max_share": 0.02, "zero_share": 0.0, "status": "GOOD",
            "sequence_ess": [0.5, np.nan, 0.5, 0.2][:count], "is_base": False,
        },
        index=NAMES[:count],
    )  # fmt: skip
    return by_policy, summary


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
    "estimates": lambda path: plots.estimates(path, table()),
    "estimates with the base": lambda path: plots.estimates(path, table(), base="d"),
    "one estimate": lambda path: plots.estimates(path, table(1)),
    "only refused": lambda path: plots.estimates(path, table().iloc[2:]),
    "estimates and the raw judge": lambda path: plots.estimates(
        path, table().assign(raw_judge=[0.72, 0.9, 0.1, np.nan]), title="No clear winner"
    ),
    "differences": lambda path: plots.differences(path, *pairs_with_the_base(), base="base"),
    "no differences": lambda path: plots.differences(path, *pairs_with_the_base(0), base="base"),
    "learned weights": lambda path: plots.weight_dashboard(
        path, weights()[0], weights()[1].assign(weights="marginal", ess=0.9)
    ),
    "comparisons": lambda path: plots.comparison_heatmap(path, *squares()),
    "comparisons with the base": lambda path: plots.comparison_heatmap(
        path, *squares(), base="better"
    ),
    "nothing to compare": lambda path: plots.comparison_heatmap(path, *squares(1)),
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

    plots.estimates(tmp_path / "a.png", table())
    with matplotlib.rc_context({"font.size": 30, "figure.dpi": 20, "axes.facecolor": "red"}):
        plots.estimates(tmp_path / "b.png", table())
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_font_of_one_weight_gives_no_warnings(tmp_path, monkeypatch, caplog):
    from matplotlib import font_manager

    from cje.results.plots import style

    fonts = font_manager.fontManager.ttflist
    sans = next(font for font in fonts if font.name == "DejaVu Sans" and font.style == "normal")
    one = dataclasses.replace(sans, name="Noto Sans CJK SC", weight=350)
    others = [font for font in fonts if font.name != one.name]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [*others, one])
    monkeypatch.setattr(style, "installed_fonts", style.installed_fonts.__wrapped__)
    plots.estimates(tmp_path / "a.png", table(2))  # has bold words and others
    assert one.name in style.installed_fonts() and not caplog.messages


def test_data_of_the_estimates_and_comparisons():
    data = plots.estimates_data(table(2))
    assert data.columns.tolist() == ["policy", "v_hat", "ci_low", "ci_high", "verdict"]
    assert data["v_hat"].tolist() == [0.7, 0.6] and data["ci_low"].tolist() == [0.65, 0.55]
    assert plots.comparison_data(squares(4)[0]).equals(plots.comparison_data(squares(2)[0]))
    pairs = plots.comparison_data(squares(2)[0])
    assert pairs.values.tolist() == [[NAMES[0], NAMES[1], 0.03], [NAMES[1], NAMES[0], 0.03]]


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
    words = words_of(monkeypatch, tmp_path, plots.comparison_heatmap, *squares(), base="better")
    assert "1 of 1 pair of policies clearly different (Holm-corrected p < 0.05)" in words
    assert words.count("refused") == 10 + 1 and not any("n/a" in text for text in words)
    assert "better (base)" in words and "d (refused)" in words


def test_the_differences_say_what_the_comparisons_allow(monkeypatch, tmp_path):
    found, verdicts = pairs_with_the_base()
    words = words_of(monkeypatch, tmp_path, plots.differences, found, verdicts, base="base")
    assert "better is ahead of base by 0.100" in words
    assert words.count("refused") == 1 and "+0.100  +0.050 to +0.150" in words
    same = found.assign(told="same")
    words = words_of(monkeypatch, tmp_path, plots.differences, same, verdicts, base="base")
    assert "No policy is ahead of base beyond chance" in words


def test_a_refused_policy_does_not_stretch_the_axis(monkeypatch, tmp_path):
    from matplotlib.axes import Axes

    limits = []
    monkeypatch.setattr(Axes, "get_xlim", lambda self: limits.append(self.viewLim.intervalx) or
                        tuple(self.viewLim.intervalx))  # fmt: skip
    rows = table(3).assign(ci_low=[0.65, 0.55, -0.2], ci_high=[0.75, 0.65, 1.2])
    plots.estimates(tmp_path / "figure.png", rows)
    low, high = limits[0]
    assert 0.5 < low < 0.55 and 0.75 < high < 0.8


def test_the_best_estimate_is_none_that_is_refused(monkeypatch, tmp_path):
    refused = table().assign(verdict=["refuse", "caution", "reliable", "refuse"])
    words = words_of(monkeypatch, tmp_path, plots.estimates, refused, base=NAMES[1])
    assert any(text.startswith("Highest estimate: openai") for text in words)
    ticks = list(dict.fromkeys(text for text in words if text in NAMES or "(base)" in text))
    assert ticks[-2:] == ["better", "d"] and "(base)" in ticks[0]


def test_weights_that_no_number_uses_are_told_and_not_judged(monkeypatch, tmp_path):
    by_policy, summary = weights()
    summary["status"] = ["GOOD", "WARNING", "GOOD", "CRITICAL"]
    words = words_of(monkeypatch, tmp_path, plots.weight_dashboard, by_policy, summary)
    assert "Policies by status: 2 good, 1 warning, 0 critical; 1 use no weights" in words
    assert "20 %, not used" in words


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


def test_the_page_has_the_palette():
    style = (Path(cje.__file__).parent / "results/report/assets/page.css").read_text(
        encoding="utf-8"
    )
    light = style[: style.index("@media")]
    for name, colour in {
        "blue": theme.BLUE, "amber": theme.AMBER, "red": theme.RED, "grey": theme.GREY,
        "truth": theme.GREEN, "ink": theme.INK,
    }.items():  # fmt: skip
        assert f"--{name}: {colour};" in light
