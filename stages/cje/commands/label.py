"""`cje label`: people as the oracle: the page, filled lists, more labels of a policy."""

import argparse
import getpass
import json
import re
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console

from cje.commands.options import whole
from cje.errors import CJEError, writing
from cje.pipeline.stage import DATA
from cje.settings import Settings, load_settings
from cje.vocabulary import Intervals, counted

if TYPE_CHECKING:
    from cje.labelling.kept import Labels
    from cje.pipeline.choice import AnswerPool

PARAMS = Path("params.yaml")
EXTRA = re.compile(r"^extra_labels:[ \t]*(?:\{[^{}\n]*\})?([ \t]+#.*)?[ \t]*$", re.MULTILINE)
BATCH = 20  # labels after which --watch estimates again
EXAMPLES = """\
examples:
  cje label                                  label on a page on this machine
  cje label --import labels/todo.csv         import a filled list: CSV, XLSX, ODS or JSONL
  cje label --policy unhelpful --add 60      label 60 more answers of a policy
  cje label --watch                          label, and see what is known after each 20 labels
See docs/labelling.md for the rest.
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command and its options."""
    label = commands.add_parser(
        "label", help="Label answers by hand, on a page or in lists; add labels of a policy.",
        description="Label the answers that the settings choose (oracle_model: human), on a page\n"
        "for this machine alone; every label is saved as it is given.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    label.add_argument(
        "--import", dest="file", type=Path, metavar="FILE",
        help="Import the labels of a filled list; a file with a bad row changes nothing.",
    )  # fmt: skip
    label.add_argument("--policy", metavar="POLICY", help="Label the answers of this policy alone.")
    label.add_argument(
        "--add", type=whole(1), metavar="N",
        help="With --policy: put N more of its answers on the list (extra_labels in params.yaml).",
    )  # fmt: skip
    label.add_argument(
        "--list", action="store_true", help="Write the answers that wait as a list, and stop."
    )
    label.add_argument(
        "--watch", type=whole(1), nargs="?", const=BATCH, metavar="N",
        help=f"Estimate again after every N labels (default: {BATCH}), and say what is known.",
    )  # fmt: skip
    label.add_argument(
        "--within", type=float, metavar="W",
        help="With --watch: say when every half width is at most W, so that you can stop.",
    )  # fmt: skip
    label.add_argument(
        "--apart",
        type=float,
        metavar="D",
        help="With --watch: say when a difference of D between policies would be detected.",
    )
    label.add_argument(
        "--rater",
        metavar="NAME",
        help="Name who labels (default: the user's name on this machine).",
    )
    label.add_argument(
        "--port",
        metavar="PORT",
        type=whole(0, 65535),
        help="Serve the page on this port (default: 8765 where it is free).",
    )
    label.add_argument("--open", action="store_true", help="Open the page in the browser.")
    label.set_defaults(run=label_answers)


def check_aim(given: argparse.Namespace) -> None:
    """Raise CJEError for an aim that cannot be, or that nothing watches."""
    for name, most in (("within", 0.5), ("apart", 1.0)):
        value = getattr(given, name)
        if value is not None and not 0 < value < most:
            raise CJEError(f"--{name}: {value:g} is not between 0 and {most:g}")
        if value is not None and not given.watch:
            raise CJEError(f"--{name}: goes with --watch; or ask: cje plan --{name} {value:g}")


def label_answers(given: argparse.Namespace, console: Console) -> None:
    """Whatever the options say, the page in the end."""
    check_aim(given)
    settings = load_settings()
    if given.add:
        settings = add_labels(given, settings, console)
        if not settings.asks_people:
            return
    if not settings.asks_people:
        raise CJEError(
            f"oracle_model is {settings.oracle_model}, which labels by itself; to label by hand, "
            "set oracle_model: human in params.yaml and run dvc repro (docs/labelling.md)"
        )
    from cje.labelling.people import read_pool

    rows = listed(read_pool(DATA, settings), settings, given.policy)
    if given.file:
        import_file(given, rows, settings, console)
    elif given.list:
        write_list(rows, settings, console)
    else:
        serve(given, rows, settings, console)


def listed(pool: "AnswerPool", settings: Settings, policy: str | None) -> pd.DataFrame:
    """The list of answers, those of a policy alone where one is named."""
    from cje.labelling.tasks import task_list

    rows = task_list(settings, pool)
    if policy is None:
        return rows
    check_policy(policy, pool)
    own = [policy in names for names in rows["policies"]]
    return rows[own].reset_index(drop=True)


def check_policy(policy: str, pool: "AnswerPool") -> None:
    """Raise CJEError where no answer is the policy's."""
    known = [pool.logs["action"].iloc[0], *pool.draws["policy"].unique()]
    if policy not in known:
        raise CJEError(f"--policy: {policy!r} has no answers here; there are {', '.join(known)}")


def add_labels(given: argparse.Namespace, settings: Settings, console: Console) -> Settings:
    """Have more of a policy's answers labelled: the next ones of the same random order. The
    settings are then those of params.yaml, which has the number."""
    if given.policy is None:
        raise CJEError("--add: say whose answers, with --policy")
    if settings.source == "files" and not settings.asks_people:
        raise CJEError(
            "source is files: label more rows of the files (oracle_score), or set oracle_model: "
            "human to label here"
        )
    from cje.labelling.people import read_pool
    from cje.pipeline.choice import chosen_for_estimates

    pool = read_pool(DATA, settings).provisional  # as many answers as by the designs
    check_policy(given.policy, pool)
    before = chosen_for_estimates(settings, pool)
    extra = settings.extra_labels.get(given.policy, 0) + given.add
    more = settings.model_copy(
        update={"extra_labels": settings.extra_labels | {given.policy: extra}}
    )
    counts = [
        int((chosen["policy"] == given.policy).sum())
        for chosen in (before, chosen_for_estimates(more, pool))
    ]
    if counts[1] - counts[0] < given.add:
        raise CJEError(
            f"--add: {given.policy} has {counted(counts[1], 'answer')}, and {counts[0]:,} are "
            f"chosen already: at most {counts[1] - counts[0]:,} can be added; raise max_samples "
            "for more"
        )
    write_extra(more.extra_labels)
    verb = "is" if given.add == 1 else "are"
    words = f"{counted(given.add, 'more answer')} of {given.policy} {verb} to be labelled"
    words += f", {counts[1]:,} in all"
    console.print(f"{words} (extra_labels in {PARAMS}).", soft_wrap=True)
    if not settings.asks_people:
        console.print(f"Next: dvc repro, and {settings.oracle_model} labels them.", soft_wrap=True)
    return load_settings()


def write_extra(extra: dict[str, int]) -> None:
    """Put `extra_labels` into params.yaml: into its line, where it has one, so that the rest stays
    as it is to the byte."""
    text = PARAMS.read_text(encoding="utf-8")
    value = ", ".join(
        f"{json.dumps(policy, ensure_ascii=False)}: {n}" for policy, n in extra.items()
    )
    new, found = EXTRA.subn(lambda line: f"extra_labels: {{{value}}}{line[1] or ''}", text)
    if found == 1:
        with writing(PARAMS):
            PARAMS.write_text(new, encoding="utf-8", newline="")
        return
    from dvc.utils.serialize import modify_yaml

    with modify_yaml(PARAMS) as values:
        values["extra_labels"] = extra


def import_file(
    given: argparse.Namespace, rows: pd.DataFrame, settings: Settings, console: Console
) -> None:
    """Take a filled list, and say what it changed."""
    from cje.labelling.importing import import_labels
    from cje.labelling.kept import Labels, check_scale

    labels = Labels()
    check_scale(labels, settings.oracle_range)
    found = import_labels(given.file, rows, labels, settings, rater(given))
    for note in found.notes:
        say(console, f"note: {note}")
    counts = {
        "new": len(found.new), "corrected": len(found.corrected),
        "as they were": found.unchanged, "without a label yet": found.empty,
    }  # fmt: skip
    say(console, f"{given.file}: " + ", ".join(f"{n:,} {words}" for words, n in counts.items()))
    for before, now in found.corrected[:10]:
        was, is_ = (f"{m.label:g}" if m.label is not None else "skip" for m in (before, now))
        say(console, f"  {now.id} of {now.rater}: was {was}, is {is_}")
    if found.elsewhere:
        say(console, f"{found.elsewhere:,} are of answers that are not on the list now: kept")
    print_progress(rows, labels, console)
    if found.new or found.corrected:
        console.print("Next: dvc repro")


def write_list(rows: pd.DataFrame, settings: Settings, console: Console) -> None:
    """Write what waits as files."""
    from cje.labelling.files import waiting, write_lists
    from cje.labelling.kept import Labels

    labels = Labels()
    left = waiting(rows, labels)
    if len(left):
        path = write_lists(left, settings)
        say(
            console,
            f"Wrote {path} and {path.with_suffix('.jsonl').name}: {counted(len(left), 'answer')}",
        )
    print_progress(rows, labels, console)


def print_progress(rows: pd.DataFrame, labels: "Labels", console: Console) -> None:
    """How much of the list is done."""
    marks = [labels.current.get(name, {}) for name in rows["id"]]
    done = sum(any(mark.label is not None for mark in found.values()) for found in marks)
    touched = sum(map(bool, marks))
    say(
        console,
        f"{done:,} of {len(rows):,} answers of the list are labelled, {touched - done:,} skipped, "
        f"{len(rows) - touched:,} waiting",
    )


def serve(
    given: argparse.Namespace, rows: pd.DataFrame, settings: Settings, console: Console
) -> None:
    """The page, until Ctrl-C."""
    from cje.labelling.files import rubric_words
    from cje.labelling.kept import Labels, check_scale
    from cje.labelling.page import Page
    from cje.labelling.session import Session

    labels = Labels()
    check_scale(labels, settings.oracle_range)
    session = Session(rows, labels, settings)
    page = Page(session, rubric_words(settings), rater(given), given.port)
    print_progress(rows, labels, console)
    say(console, f"Open {page.address}")
    say(console, "Every label is saved as it is given. Ctrl-C ends.")
    server = threading.Thread(target=page.serve_forever, daemon=True)
    server.start()
    if given.open:
        webbrowser.open(page.address)
    try:
        if given.watch:
            from cje.commands.watching import watch
            from cje.stats.planning import Aim

            anytime = settings.intervals is Intervals.ANYTIME
            aim = Aim(given.within, given.apart, alpha=settings.alpha, anytime=anytime)
            watch(session, given.watch, aim, console)
        while server.is_alive():
            server.join(1)
    except KeyboardInterrupt:
        console.print()
    finally:
        page.shutdown()
        page.server_close()
    say(
        console,
        f"Saved in {labels.path}: {counted(session.given, 'label or skip', 'labels and skips')}.",
    )
    print_progress(rows, labels, console)
    console.print("Next: dvc repro")


def rater(given: argparse.Namespace) -> str:
    """Who labels; raises CJEError for a name that is none."""
    from cje.labelling.kept import rater_name

    try:
        return rater_name(user() if given.rater is None else given.rater)
    except CJEError as problem:
        raise CJEError(f"--rater: {problem}") from None


def user() -> str:
    """The user's name on this machine, for who gave no other."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "rater"


def say(console: Console, words: str) -> None:
    """A line that is not broken and not marked up."""
    console.print(words, soft_wrap=True, markup=False)
