"""`cje plan`: how many prompts and labels reach what is wanted, before they are paid for."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from cje.commands.options import add_run_dir
from cje.commands.pilots import Basis, basis_of
from cje.errors import CJEError
from cje.results.console import new_table
from cje.results.words import count, counted, dollars, listed, number, short
from cje.vocabulary import Intervals

if TYPE_CHECKING:
    from cje.stats.planning import Aim, Planner, Prices, Size

LABEL_PRICE, PROMPT_PRICE = 0.01, 0.0005  # dollars, of the Arena Analysis guide's oracle and proxy
HOUR = 20.0  # dollars of a labeller, where no price of a label is given
DROPPED = ("likely", "labels\non logs", "on each\ntarget", "dollars")  # first to last
MORE_PROMPTS = 10  # times the pilot's, at most


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command and its options."""
    plan = commands.add_parser(
        "plan", help="Plan how many prompts and labels an aim takes.",
        description="Plan a run from a pilot (this project's last run, a run folder, or files), or "
        "from guesses: how many prompts, labels on the logs and labels on each policy reach a half "
        "width of --within for every policy, or detect that two policies differ by --apart, at the "
        "lowest cost.",
    )  # fmt: skip
    add_aim(plan.add_argument_group("what is wanted (one of them, or both)"))
    pilot = plan.add_argument_group("the pilot")
    add_run_dir(pilot)
    pilot.add_argument(
        "--logs", type=Path, metavar="FILE", help="Or take files, in the form that cje.analyze has."
    )
    pilot.add_argument(
        "--draws", type=Path, metavar="FILE", help="CSV, JSONL or Parquet, as --logs."
    )
    add_guesses(plan.add_argument_group("or guesses, with --spread"))
    add_costs(plan.add_argument_group("what it costs"))
    plan.set_defaults(run=print_plan)


def add_aim(group: argparse._ArgumentGroup) -> None:
    """The options that say what is wanted."""
    group.add_argument(
        "--within", type=float, metavar="W", help="Reach this half width, such as 0.03."
    )
    group.add_argument(
        "--apart", type=float, metavar="D", help="Detect this difference, such as 0.05."
    )
    group.add_argument(
        "--power",
        type=float,
        default=0.8,
        metavar="P",
        help="Detect it with this probability (default: 0.8).",
    )
    group.add_argument(
        "--intervals", choices=[str(kind) for kind in Intervals],
        help="Use fixed-time intervals, or anytime ones, valid however often one looks (default: "
        "as the run has them).",
    )  # fmt: skip


def add_guesses(group: argparse._ArgumentGroup) -> None:
    """The options that guess a pilot."""
    group.add_argument(
        "--spread", type=float, metavar="S", help="Standard deviation of the utility, on [0, 1]."
    )
    group.add_argument(
        "--mean", type=float, default=0.6, metavar="M", help="Mean utility (default: 0.6)."
    )
    group.add_argument(
        "--judge", type=float, default=0.5, metavar="R",
        help="Correlation of judge and oracle within a policy (default: 0.5).",
    )  # fmt: skip
    group.add_argument(
        "--between", type=float, default=0.3, metavar="R",
        help="Correlation of two policies' labels on a prompt, given the judge (default: 0.3).",
    )  # fmt: skip
    group.add_argument(
        "--policies",
        type=int,
        default=4,
        metavar="N",
        help="Number of policies, with the base (default: 4).",
    )


def add_costs(group: argparse._ArgumentGroup) -> None:
    """The options that say what labels and prompts cost, and how many prompts there are."""
    group.add_argument("--label-price", type=float, metavar="USD", help="Price of one label.")
    group.add_argument(
        "--prompt-price", type=float, metavar="USD",
        help="Price of every policy's answer to one prompt, judged.",
    )  # fmt: skip
    group.add_argument(
        "--minutes-a-label",
        type=float,
        metavar="M",
        help="Minutes that a person takes for a label.",
    )
    group.add_argument(
        "--most-prompts", type=int, metavar="N",
        help="Number of prompts available (default: those of the files, where the pilot has its "
        "answers in files; else ten times those of the pilot).",
    )  # fmt: skip


def print_plan(given: argparse.Namespace, console: Console) -> None:
    """Whether the pilot has reached the aim; else the plan, what else would, what was assumed."""
    from cje.stats.planning import Aim, Planner

    check_options(given)
    basis = basis_of(given)
    anytime = basis.anytime if given.intervals is None else given.intervals == Intervals.ANYTIME
    most = given.most_prompts or (basis.prompts if basis.files else MORE_PROMPTS * basis.prompts)
    prices, price_words = prices_of(given, basis, most)
    aim = Aim(given.within, given.apart, given.power, basis.alpha, anytime)
    if basis.view is not None and print_reached(basis, aim, console):
        return
    planner = Planner(basis.pilot, aim)
    size = planner.plan(prices, most)
    if size is None:
        more = "add prompts to the files, and say with --most-prompts how many there will be"
        raise CJEError(
            f"{wanted(aim)} cannot be reached with {counted(most, 'prompt')}, all of them labelled "
            "for every policy.\nAsk for less, or "
            + (more if basis.files else "say with --most-prompts that there are more")
        )
    if basis.files:  # all of their prompts count, whether or not the plan needs them
        size = replace(size, prompts=max(size.prompts, basis.prompts))
    first, *lines = plan_lines(planner, size, prices, given, basis)
    console.print(first, style="bold", soft_wrap=True)
    for line in lines:
        console.print(line, soft_wrap=True)
    console.print(alternatives_table(planner, size, prices, given, basis, console.width))
    assumed = [*basis.words, *price_words, *assumptions(planner, size, most, basis)]
    for heading, items in (("Stop when", stopping_rules(aim)), ("Assumed", assumed)):
        console.print(heading, style="bold")
        for line in items:
            console.print(f"  {line}", soft_wrap=True)


def print_reached(basis: Basis, aim: "Aim", console: Console) -> bool:
    """Print whether the pilot run has reached the aim, with its own kind of intervals."""
    from cje.commands.stopping import standing

    assert basis.view is not None
    reached, lines = standing(basis.view, replace(aim, anytime=basis.anytime), basis.pilot)
    console.print(lines[0], style="bold", soft_wrap=True, markup=False)
    for line in lines[1:]:
        console.print(line, soft_wrap=True)
    return reached


def plan_lines(
    planner: "Planner", size: "Size", prices: "Prices", given: argparse.Namespace, basis: Basis
) -> list[str]:
    """The plan: its size and cost, the width to expect, and how to carry it out."""
    from cje.stats.planning import LIKELY

    policies = len(planner.pilot.policies)
    labels = size.labels(policies)
    cost = f"${dollars(prices.dollars(size, policies))}"
    if given.minutes_a_label:
        cost += f", {hours(labels, given)} hours of labelling"
    low, high = planner.likely(size)
    chance = "the labels" if given.spread is not None else "the labels and of the pilot"
    return [
        f"For {wanted(planner.aim)}: {counted(size.prompts, 'prompt')}, "
        f"{counted(size.logged, 'label')} on the logs, {count(size.own)} on each of "
        f"{counted(policies - 1, 'target')} ({count(labels)} in all), {cost}.",
        f"The widest half width is then {number(planner.reach(size).half_widths.max())}; in "
        f"{count(100 * LIKELY)} of 100 runs it lies between {number(low)} and {number(high)}, by "
        f"the luck of {chance}.",
        for_files(basis, size) if basis.labels_in_files else as_settings(size),
    ]


def as_settings(size: "Size") -> str:
    """The command that runs the plan."""
    share = round(size.logged / size.prompts, 4)
    return (
        f"As settings: cje run --max-samples {size.prompts} --oracle-fraction {short(share)} "
        f"--target-labels {size.own}"
    )


def for_files(basis: Basis, size: "Size") -> str:
    """What the plan adds to files that hold the labels: which answers, and how many."""
    assert basis.view is not None
    targets: dict[int, list[str]] = {}
    for row in basis.view.estimates:
        if not row.is_base and (more := size.own - row.labels) > 0:
            targets.setdefault(more, []).append(row.policy)

    def each(names: list[str]) -> str:
        return f"{'each of ' if len(names) > 1 else ''}{listed(names)}"

    wanted = [f"{count(more)} more of {each(names)}" for more, names in targets.items()]
    if (more := size.logged - basis.view.answers.base_labels) > 0:
        wanted.insert(0, f"{count(more)} more of the logged answers")
    words = "In the files: "
    if (prompts := size.prompts - basis.prompts) > 0:
        words += f"add {counted(prompts, 'prompt')} with every policy's answers; "
    return (
        f"{words}label (oracle_score) {listed(wanted) or 'no more answers'}, chosen at random, on "
        "the same prompts for every policy; then run cje run again."
    )


def check_options(given: argparse.Namespace) -> None:
    """Raise CJEError for options that no plan can have."""
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
        if value is not None and not 0 <= value < float("inf"):
            raise CJEError(f"--{name.replace('_', '-')}: {value:g} is not a number, 0 or more")
    if given.policies < 2:
        raise CJEError("--policies: give 2 or more: the base policy and a target")
    if given.most_prompts is not None and given.most_prompts < 30:
        raise CJEError("--most-prompts: give 30 or more")
    if (given.logs is None) != (given.draws is None):
        raise CJEError("a pilot in files is both, --logs and --draws")


def prices_of(given: argparse.Namespace, basis: Basis, most: int) -> tuple["Prices", list[str]]:
    """The prices, and where each is from."""
    from cje.stats.planning import Prices

    if given.label_price is not None:
        label, words = given.label_price, "as given"
    elif given.minutes_a_label is not None:
        label = given.minutes_a_label / 60 * HOUR
        minutes = "minute" if given.minutes_a_label == 1 else "minutes"
        words = f"{given.minutes_a_label:g} {minutes} at ${HOUR:g} an hour"
    elif basis.label_price is not None:
        label, words = basis.label_price, "as in the pilot"
    else:
        label, words = LABEL_PRICE, "a guess; --label-price sets it"
    if given.prompt_price is not None:
        prompt, source = given.prompt_price, "as given"
    elif basis.files and most <= basis.prompts:
        prompt, source = 0.0, "they are in the files"
    elif basis.prompt_price is not None:
        prompt, source = basis.prompt_price, "as in the pilot"
    else:
        prompt = PROMPT_PRICE * len(basis.pilot.policies)
        source = "a guess; --prompt-price sets it"
    lines = [f"a label costs ${label:.4g} ({words}), a prompt's answers ${prompt:.4g} ({source})"]
    if label == 0 and prompt == 0:
        lines.append("as everything is free, the plan is the one with the fewest labels")
    return Prices(label, prompt), lines


def alternatives_table(
    planner: "Planner",
    size: "Size",
    prices: "Prices",
    given: argparse.Namespace,
    basis: Basis,
    width: int,
) -> Table:
    """The plan among others; on a narrow screen without the columns of DROPPED."""
    policies = len(planner.pilot.policies)
    rows: dict[str, dict[str, str]] = {}
    for name, of, other in alternatives(planner, size, basis):
        reached, labels = of.reach(other), other.labels(policies)
        low, high = of.likely(other)
        cost = prices.dollars(other, policies)
        rows[name] = {
            "prompts": count(other.prompts), "labels\non logs": count(other.logged),
            "on each\ntarget": count(other.own), "labels\nin all": count(labels),
            "half\nwidth": number(reached.half_widths.max()),
            "likely": f"{number(low)} to {number(high)}",
            "differ-\nence": number(reached.detectable),
            "dollars": dollars(cost, 2 if cost < 100 else 0),
        }  # fmt: skip
        if given.minutes_a_label:
            rows[name]["hours"] = hours(labels, given)
    columns = fitting(rows, width)
    table = new_table(
        "Alternatives: the widest interval of any policy, the smallest difference detected",
        {"": "left"} | dict.fromkeys(columns, "right"),
    )
    for name, cells in rows.items():
        table.add_row(name, *(cells[column] for column in columns))
    return table


def fitting(rows: dict[str, dict[str, str]], width: int) -> list[str]:
    """The columns that fit on the screen beside the rows' names, two blanks between them."""
    columns = list(rows["the plan"])

    def widest(column: str) -> int:
        return max(map(len, [*column.split("\n"), *(cells[column] for cells in rows.values())]))

    for dropped in DROPPED:
        if max(map(len, rows)) + sum(2 + widest(column) for column in columns) <= width:
            break
        columns.remove(dropped)
    return columns


def alternatives(
    planner: "Planner", size: "Size", basis: Basis
) -> Iterator[tuple[str, "Planner", "Size"]]:
    """The plan, and others: with fewer or more labels, and, where files do not settle that, with
    fewer prompts, and actively sampled."""
    from cje.stats.planning import Planner

    yield "the plan", planner, size
    half = replace(size, logged=max(size.logged // 2, 2), own=max(size.own // 2, 2))
    yield "half the labels", planner, half
    twice = replace(
        size, logged=min(2 * size.logged, size.prompts),
        own=min(2 * size.own, 2 * size.logged, size.prompts),
    )  # fmt: skip
    yield "twice the labels", planner, twice
    if not basis.files:
        yield (
            "half the prompts",
            planner,
            replace(size, prompts=max(size.prompts // 2, size.logged)),
        )
    if planner.pilot.active is not None and not basis.labels_in_files:
        yield "sampling: active", Planner(planner.pilot.actively_labelled(), planner.aim), size


def hours(labels: int, given: argparse.Namespace) -> str:
    """How long people take for the labels."""
    return f"{labels * given.minutes_a_label / 60:,.1f}"


def wanted(aim: "Aim") -> str:
    """The aim in words."""
    words = []
    if aim.within is not None:
        words.append(f"half widths of at most {aim.within:g} for every policy")
    if aim.apart is not None:
        words.append(f"detecting policies that differ by {aim.apart:g}, power {aim.power:g}")
    return " and ".join(words)


def assumptions(planner: "Planner", size: "Size", most: int, basis: Basis) -> list[str]:
    """What the plan assumes of intervals, answers and prompts."""
    from scipy.special import ndtri

    from cje.stats.inference import anytime_level

    aim = planner.aim
    level = anytime_level(aim.alpha, size.own)
    ratio = float(ndtri(level / 2) / ndtri(aim.alpha / 2))
    kind = (
        f"intervals valid at any time, {ratio:.2f} times as wide as fixed-time ones"
        if aim.anytime
        else f"fixed-time intervals; those valid at any time would be {ratio:.2f} times as wide"
    )
    return [
        f"intervals of level {1 - aim.alpha:g}; Holm's correction over "
        f"{counted(planner.pilot.pairs, 'pair')}, at the pair where it is hardest; "
        "more answers and labels are like those of the pilot",
        kind,
        f"there are at most {counted(most, 'prompt')}"
        + (", those in the files" if basis.files and most <= basis.prompts else "")
        + " (--most-prompts)",
    ]


def stopping_rules(aim: "Aim") -> list[str]:
    """When someone who labels in batches may stop."""
    lines = []
    if aim.within is not None:
        lines.append(
            f"every half width is at most {aim.within:g}: a width does not show which way an "
            "estimate falls, so you may look at it after every batch"
        )
    if aim.apart is not None and aim.anytime:
        lines.append("the difference is clear, or the plan's labels are spent: look at any time")
    elif aim.apart is not None:
        lines.append(
            "the plan's labels are spent. To stop earlier, as soon as a difference shows, set "
            "intervals: anytime (params.yaml)"
        )
    return lines
