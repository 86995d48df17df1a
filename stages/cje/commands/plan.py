"""`cje plan`: how many prompts and labels reach what is wanted, before they are paid for."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from cje.errors import CJEError
from cje.results.console import new_table
from cje.vocabulary import Intervals

if TYPE_CHECKING:
    import pandas as pd

    from cje.results.view import RunView
    from cje.stats.planning import Aim, Pilot, Planner, Prices, Size

READERS = {".csv": "read_csv", ".parquet": "read_parquet", ".jsonl": "read_json"}
LABEL_PRICE, PROMPT_PRICE = 0.01, 0.0005  # dollars, of the Arena Analysis guide's oracle and proxy
HOUR = 20.0  # dollars of a labeller, where no price of a label is given
MORE_PROMPTS = 10  # times the pilot's, at most


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command and its options."""
    plan = commands.add_parser(
        "plan", help="how many prompts and labels reach an interval or tell two policies apart",
        description="Plan a run from a pilot (this project's last run, a run folder, or files), or "
        "from guesses: how many prompts, labels on the logs and labels on each policy reach a half "
        "width of --within for every policy, or tell two policies apart that differ by --apart, at "
        "the least cost.",
    )  # fmt: skip
    aim = plan.add_argument_group("what is wanted (one of them, or both)")
    aim.add_argument("--within", type=float, metavar="W", help="half width, such as 0.03")
    aim.add_argument("--apart", type=float, metavar="D", help="difference, such as 0.05")
    aim.add_argument("--power", type=float, default=0.8, help="of telling it (default 0.8)")
    aim.add_argument(
        "--intervals", choices=[str(kind) for kind in Intervals],
        help="fixed-time, or anytime: valid however often one looks (default: the run's setting)",
    )  # fmt: skip
    pilot = plan.add_argument_group("the pilot")
    pilot.add_argument("--run-dir", type=Path, help="a run folder or project; default: the last")
    pilot.add_argument(
        "--logs", type=Path, metavar="FILE", help="or files, as cje.analyze has them"
    )
    pilot.add_argument("--draws", type=Path, metavar="FILE", help="(CSV, JSONL or Parquet)")
    guess = plan.add_argument_group("or guesses, with --spread")
    guess.add_argument("--spread", type=float, help="standard deviation of the utility, on [0, 1]")
    guess.add_argument("--mean", type=float, default=0.6, help="mean utility (default 0.6)")
    guess.add_argument(
        "--judge", type=float, default=0.5, metavar="R",
        help="correlation of judge and oracle within a policy (default 0.5)",
    )  # fmt: skip
    guess.add_argument(
        "--between", type=float, default=0.3, metavar="R",
        help="correlation of two policies' labels on a prompt, given the judge (default 0.3)",
    )  # fmt: skip
    guess.add_argument("--policies", type=int, default=4, help="with the base (default 4)")
    cost = plan.add_argument_group("what it costs")
    cost.add_argument("--label-price", type=float, metavar="USD", help="of one label")
    cost.add_argument(
        "--prompt-price", type=float, metavar="USD",
        help="of an answer and a judgement of every policy to one prompt",
    )  # fmt: skip
    cost.add_argument("--minutes-a-label", type=float, metavar="M", help="of a person who labels")
    cost.add_argument("--most-prompts", type=int, metavar="N", help="that there are to be had")
    plan.set_defaults(run=print_plan)


def print_plan(given: argparse.Namespace, console: Console) -> None:
    """The plan, what else would reach, and what was assumed."""
    from cje.commands.stopping import standing
    from cje.stats.planning import LIKELY, Aim, Planner

    _check(given)
    pilot, facts = _pilot(given)
    if given.intervals is not None:
        facts["anytime"] = given.intervals == Intervals.ANYTIME
    prices, price_words = _prices(given, facts, pilot.policies)
    aim = Aim(given.within, given.apart, given.power, facts["alpha"], facts["anytime"])
    most = given.most_prompts or MORE_PROMPTS * facts["prompts"]
    if facts["run"] is not None:
        reached, lines = standing(facts["run"], _as_the_run(aim, facts["run"]), pilot)
        console.print(lines[0], style="bold", soft_wrap=True, markup=False)
        for line in lines[1:]:
            console.print(line, soft_wrap=True)
        if reached:
            return
    planner = Planner(pilot, aim)
    size = planner.plan(prices, most)
    if size is None:
        raise CJEError(
            f"{_wanted(aim)} cannot be reached with {most:,} prompts, all of them labelled for "
            "every policy.\nAsk for less, or say with --most-prompts that there are more"
        )
    labels = size.labels(len(pilot.policies))
    console.print(
        f"For {_wanted(aim)}: {size.prompts:,} prompts, {size.logged:,} labels on the logs, "
        f"{size.own:,} on each of {len(pilot.policies) - 1} targets ({labels:,} in all), "
        f"{_cost(prices, size, pilot, given)}.",
        style="bold", soft_wrap=True,
    )  # fmt: skip
    low, high = planner.likely(size)
    console.print(
        f"The widest half width is then {planner.reach(size).half_widths.max():.3f}; in "
        f"{100 * LIKELY:.0f} of 100 runs it lies between {low:.3f} and {high:.3f}, by the luck of "
        f"{'the labels' if given.spread is not None else 'the labels and of the pilot'}.",
        soft_wrap=True,
    )  # fmt: skip
    share = round(size.logged / size.prompts, 4)
    console.print(
        f"As settings: cje run --max-samples {size.prompts} --oracle-fraction {share:g} "
        f"--target-labels {size.own}",
        soft_wrap=True,
    )
    console.print(_alternatives(planner, size, prices, given))
    console.print("Stop when", style="bold")
    for line in _stopping(aim):
        console.print(f"  {line}", soft_wrap=True)
    console.print("Assumed", style="bold")
    for line in [*facts["words"], *price_words, *_assumed(pilot, aim, size, most)]:
        console.print(f"  {line}", soft_wrap=True)


def _check(given: argparse.Namespace) -> None:
    if given.within is None and given.apart is None:
        raise CJEError("say what is wanted: --within 0.03, --apart 0.05, or both")
    bounds = {"within": (0, 0.5), "apart": (0, 1), "power": (0.05, 0.999), "mean": (0, 1)}
    bounds |= {"spread": (0, 0.5), "judge": (-1, 1), "between": (-1, 1)}
    for name, (low, high) in bounds.items():
        value = getattr(given, name)
        if value is not None and not low < value < high:
            raise CJEError(f"--{name}: {value:g} is not between {low:g} and {high:g}")
    for name in ("label_price", "prompt_price", "minutes_a_label"):
        value = getattr(given, name)
        if value is not None and value < 0:
            raise CJEError(f"--{name.replace('_', '-')}: {value:g} is below 0")
    if given.policies < 2:
        raise CJEError("--policies: give 2 or more: the base policy and a target")
    if given.most_prompts is not None and given.most_prompts < 30:
        raise CJEError("--most-prompts: give 30 or more")
    if (given.logs is None) != (given.draws is None):
        raise CJEError("a pilot in files is both, --logs and --draws")


def _pilot(given: argparse.Namespace) -> tuple["Pilot", dict[str, Any]]:
    """The pilot; and its number of prompts, level, widening, costs where known, and words."""
    from cje.stats.planning import guessed, pilot

    facts: dict[str, Any] = {
        "alpha": 0.05,
        "anytime": False,
        "prompts": 1000,
        "label": None,
        "prompt": None,
    }
    facts["run"] = None
    if given.spread is not None:
        words = (
            f"guesses: utility {given.mean:g}, standard deviation {given.spread:g}; correlation of "
            f"judge and oracle {given.judge:g}, of two policies on a prompt {given.between:g}; "
            f"{given.policies} policies with the base"
        )
        found = guessed(given.policies, given.mean, given.spread, given.judge, given.between)
        return found, facts | {"words": [words]}
    if given.logs is not None:
        logs, draws = _frame(given.logs), _frame(given.draws)
        found = pilot(logs, draws)
        facts |= {"prompts": len(logs)}
        words = f"the pilot is {given.logs} and {given.draws}: {len(logs):,} prompts"
        return found, facts | {"words": [words, *_facts(found, logs, draws)]}
    return _of_run(given, facts)


def _of_run(given: argparse.Namespace, facts: dict[str, Any]) -> tuple["Pilot", dict[str, Any]]:
    from cje.commands.stopping import pilot_of, standing
    from cje.data.frames import rewarded_frames
    from cje.results.opening import open_run
    from cje.results.view import RunView
    from cje.stats.planning import Aim

    run = open_run(given.run_dir)
    view = RunView(run)
    try:
        found, prompts = pilot_of(view), len(run.prompts)
    except CJEError as problem:  # of too few labels
        aim = Aim(given.within, given.apart, given.power, run.settings.alpha)
        raise CJEError("\n".join([*standing(view, aim, None)[1], str(problem)])) from None
    logs, draws = rewarded_frames(run.data, run.settings)
    facts |= {"run": view, "prompts": prompts, "alpha": run.settings.alpha}
    facts["anytime"] = run.settings.intervals is Intervals.ANYTIME
    stages = run.metrics("cost").get("by_stage", {})
    labels = sum(stages.get(name, {}).get("calls", 0) for name in ("oracle_label", "validate"))
    if labels:
        paid = [stages.get(name, {}).get("usd", 0.0) for name in ("oracle_label", "validate")]
        facts["label"] = sum(paid) / labels
        before = ("generate_logs", "draw_targets", "proxy_score")
        facts["prompt"] = sum(stages.get(n, {}).get("usd", 0.0) for n in before) / prompts
    where = "this project's last run" if run.folder == Path() else str(run.folder)
    words = f"the pilot is {where}: {prompts:,} prompts"
    return found, facts | {"words": [words, *_facts(found, logs, draws)]}


def _as_the_run(aim: "Aim", view: "RunView") -> "Aim":
    """The aim under the run's own kind of intervals."""
    from dataclasses import replace

    return replace(aim, anytime=view.run.settings.intervals is Intervals.ANYTIME)


def _facts(found: "Pilot", logs: "pd.DataFrame", draws: "pd.DataFrame") -> list[str]:
    import numpy as np

    labels = draws["oracle_score"].notna().groupby(draws["policy"]).sum()
    known = labels[[p for p in found.policies[1:] if p in labels]]
    whole = np.diag(found.everywhere + found.beyond + found.left) ** 0.5
    rest = np.diag(found.left)[1:] ** 0.5
    return [
        f"its labels: {int(logs['oracle_score'].notna().sum()):,} on the logs, "
        f"{int(known.min()):,} to {int(known.max()):,} on each of {len(known)} targets",
        f"standard deviation of the utility {whole.min():.2f} to {whole.max():.2f}; of what judge "
        f"and base label leave {rest.min():.2f} to {rest.max():.2f}",
    ]


def _frame(path: Path) -> "pd.DataFrame":
    import pandas as pd

    if path.suffix not in READERS:
        raise CJEError(f"{path}: give a file that ends in {', '.join(READERS)}")
    try:
        options = {"lines": True} if path.suffix == ".jsonl" else {}
        return getattr(pd, READERS[path.suffix])(path, **options)
    except FileNotFoundError:
        raise CJEError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise CJEError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error


def _prices(
    given: argparse.Namespace, facts: dict[str, Any], policies: tuple[str, ...]
) -> tuple["Prices", list[str]]:
    """The prices, and where each is from."""
    from cje.stats.planning import Prices

    if given.label_price is not None:
        label, words = given.label_price, "as given"
    elif given.minutes_a_label is not None:
        label = given.minutes_a_label / 60 * HOUR
        words = f"{given.minutes_a_label:g} minutes at ${HOUR:g} an hour"
    elif facts["label"] is not None:
        label, words = facts["label"], "as in the pilot"
    else:
        label, words = LABEL_PRICE, "a guess; --label-price says better"
    if given.prompt_price is not None:
        prompt, source = given.prompt_price, "as given"
    elif facts["prompt"] is not None:
        prompt, source = facts["prompt"], "as in the pilot"
    else:
        prompt, source = PROMPT_PRICE * len(policies), "a guess; --prompt-price says better"
    lines = [f"a label costs ${label:.4g} ({words}), a prompt's answers ${prompt:.4g} ({source})"]
    if label == 0 and prompt == 0:
        lines.append("as nothing costs anything, the plan is the one with the fewest labels")
    return Prices(label, prompt), lines


def _alternatives(
    planner: "Planner", size: "Size", prices: "Prices", given: argparse.Namespace
) -> Table:
    """The plan among others, in a table."""
    from dataclasses import replace

    from cje.stats.planning import Planner

    columns = [
        "prompts",
        "labels\non logs",
        "on each\ntarget",
        "in all",
        "half\nwidth",
        "likely",
        "apart",
    ]
    columns += ["dollars"] + (["hours"] if given.minutes_a_label else [])
    table = new_table(
        "Alternatives: the widest interval of any policy, the smallest difference detected",
        {"": "left"} | dict.fromkeys(columns, "right"),
    )
    half = replace(size, logged=max(size.logged // 2, 2), own=max(size.own // 2, 2))
    rows = [
        ("the plan", planner, size),
        ("half the labels", planner, half),
        ("twice the labels", planner, replace(
            size, logged=min(2 * size.logged, size.prompts),
            own=min(2 * size.own, 2 * size.logged, size.prompts),
        )),
        ("half the prompts", planner, replace(
            size, prompts=max(size.prompts // 2, size.logged),
        )),
    ]  # fmt: skip
    if planner.pilot.active is not None:
        active = Planner(planner.pilot.actively_labelled(), planner.aim)
        rows.append(("sampling: active", active, size))
    policies = len(planner.pilot.policies)
    for name, of, found in rows:
        reached, labels = of.reach(found), found.labels(policies)
        low, high = of.likely(found)
        cells = [
            name, f"{found.prompts:,}", f"{found.logged:,}", f"{found.own:,}", f"{labels:,}",
            f"{reached.half_widths.max():.3f}", f"{low:.3f} to {high:.3f}", f"{reached.apart:.3f}",
            _dollars(prices.dollars(found, policies)),
        ]  # fmt: skip
        if given.minutes_a_label:
            cells.append(f"{labels * given.minutes_a_label / 60:,.1f}")
        table.add_row(*cells)
    return table


def _dollars(value: float) -> str:
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def _wanted(aim: "Aim") -> str:
    words = []
    if aim.within is not None:
        words.append(f"half widths of at most {aim.within:g} for every policy")
    if aim.apart is not None:
        words.append(f"detecting policies that differ by {aim.apart:g}, power {aim.power:g}")
    return " and ".join(words)


def _cost(prices: "Prices", size: "Size", pilot: "Pilot", given: argparse.Namespace) -> str:
    policies = len(pilot.policies)
    words = f"${prices.dollars(size, policies):,.2f}"
    if given.minutes_a_label:
        hours = size.labels(policies) * given.minutes_a_label / 60
        words += f", {hours:,.1f} hours of labelling"
    return words


def _assumed(pilot: "Pilot", aim: "Aim", size: "Size", most: int) -> list[str]:
    from scipy.special import ndtri

    from cje.stats.inference import anytime_level

    level = anytime_level(aim.alpha, size.own)
    price = float(ndtri(level / 2) / ndtri(aim.alpha / 2))
    kind = (
        f"intervals valid at any time, {price:.2f} times as wide as fixed-time ones"
        if aim.anytime
        else f"fixed-time intervals; those valid at any time would be {price:.2f} times as wide"
    )
    return [
        f"intervals of level {1 - aim.alpha:g}; Holm's correction over {pilot.pairs} pairs, at the "
        "pair where it is hardest; more answers and labels are like those of the pilot",
        kind,
        f"there are at most {most:,} prompts (--most-prompts)",
    ]


def _stopping(aim: "Aim") -> list[str]:
    """When who labels in batches may stop."""
    lines = []
    if aim.within is not None:
        lines.append(
            f"every half width is at most {aim.within:g}: widths do not know which way estimates "
            "fall, so one may look at them after every batch"
        )
    if aim.apart is not None and aim.anytime:
        lines.append("the difference is clear, or the plan's labels are spent: look at any time")
    elif aim.apart is not None:
        lines.append(
            "the plan's labels are spent. Who would stop earlier, where a difference shows, needs "
            "intervals: anytime (params.yaml)"
        )
    return lines
