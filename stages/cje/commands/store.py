"""`cje store`: what is kept of the replies, and its upkeep."""

import argparse
import json
from pathlib import Path

import pandas as pd
from rich.console import Console

from cje.commands.options import day, whole
from cje.data.tables import read_table
from cje.errors import CJEError
from cje.models.runner.place import store_folder
from cje.models.runner.recording import recordings
from cje.pipeline.stage import DATA
from cje.results.console import new_table
from cje.settings import load_settings
from cje.vocabulary import counted

CALL_TABLES = "*_calls.parquet"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command, its actions and their options."""
    store = commands.add_parser(
        "store", help="Look after the reply store: show, batches, export, import, verify, prune.",
        description="Look after the reply store, which keeps every reply that a model gave, so "
        "that none is paid for twice. Without an action: show.",
    )  # fmt: skip
    store.set_defaults(run=show_store)
    actions = store.add_subparsers(metavar="action")
    actions.add_parser("show", help="Show size and hits, by model.").set_defaults(run=show_store)
    batches = actions.add_parser(
        "batches", help="Show batches that are not collected, and their progress."
    )
    batches.add_argument(
        "--offline", action="store_true", help="Show what the last look found, without asking."
    )
    batches.set_defaults(run=show_batches)
    export = actions.add_parser("export", help="Write the replies of the last run as a recording.")
    export.add_argument(
        "to", type=Path, help="The file to write, such as data/recordings/mine.parquet."
    )
    export.add_argument("--all", action="store_true", help="Write all replies of the store.")
    export.add_argument(
        "--made", action="append", default=[], metavar="NAME=VALUE", type=_fact,
        help="State a fact of the machine that made the replies, if not this one: device=...",
    )  # fmt: skip
    export.set_defaults(run=export_store)
    take = actions.add_parser("import", help="Add a recording's replies to the store.")
    take.add_argument(
        "recording", type=Path, metavar="RECORDING",
        help="The file to read, as cje store export writes it.",
    )  # fmt: skip
    take.set_defaults(run=import_store)
    verify = actions.add_parser("verify", help="Check every record of the store and of recordings.")
    verify.add_argument("recordings", type=Path, nargs="*", help="Check these recordings alone.")
    verify.add_argument(
        "--ask", type=whole(0), default=0, metavar="N",
        help="Ask local models again for N answers and N scores of each recording, and compare.",
    )  # fmt: skip
    verify.set_defaults(run=verify_store)
    less = actions.add_parser(
        "prune", help="Remove replies: damaged ones, repeats, and those that the options name."
    )
    less.add_argument("--model", action="append", default=[], help="Remove replies of this model.")
    less.add_argument(
        "--before", type=day, metavar="YYYY-MM-DD", help="Remove replies from before this day."
    )
    less.add_argument(
        "--unused", action="store_true", help="Remove replies that the last run does not use."
    )
    less.add_argument(
        "--failed", action="store_true",
        help="Remove the notes of useless replies, so that their requests are sent again.",
    )  # fmt: skip
    less.add_argument(
        "--yes",
        action="store_true",
        help="Remove them; without it, only say what would be removed.",
    )
    less.set_defaults(run=prune_store)


def show_store(given: argparse.Namespace, console: Console) -> None:
    """A row a model, and what the last run took from it."""
    from cje.models.runner.upkeep import holdings

    folder = store_folder()
    found = holdings(folder)
    table = new_table(
        f"Reply store {folder}",
        {
            "model": "left", "replies": "right", "size": "right", "paid": "right",
            "damaged": "right", "from": "right", "to": "right",
        },
    )  # fmt: skip
    for row in found:
        table.add_row(
            row.model, f"{row.replies:,}", size_words(row.size), f"${row.usd:.4f}",
            str(row.damaged or ""), row.oldest[:10], row.newest[:10],
        )  # fmt: skip
    console.print(table)
    total = sum(row.size for row in found)
    replies = sum(row.replies for row in found)
    console.print(
        f"{counted(replies, 'reply', 'replies')}, {size_words(total)}, "
        f"${sum(r.usd for r in found):.4f} paid"
    )
    hits, asked = hit_counts(folder)
    if hits or asked:
        console.print(f"hits: {hits:,} of {hits + asked:,} wanted replies were kept already")
    for path in recordings():
        from cje.models.runner.recording import Recording

        console.print(
            f"recording {path}: {counted(len(Recording(path)), 'reply', 'replies')}, read before "
            "the store"
        )


def show_batches(given: argparse.Namespace, console: Console) -> None:
    """A line a batch that is waited for: its id, state, counts and time at the last look."""
    from cje.models.runner.upkeep import live_batches

    look = not given.offline
    headers = load_settings().extra_headers if look else None
    found = live_batches(store_folder(), look, headers)
    for batch in found:
        console.print(str(batch), markup=False, soft_wrap=True)
    if found:
        console.print("dvc repro waits for them, collects them and pays nothing twice")
    else:
        console.print("no batch is waited for")


def hit_counts(folder: Path) -> tuple[int, int]:
    """Replies that were found kept, and those that were asked for, over all stages so far."""
    try:
        lines = (folder / "hits.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return 0, 0
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    return sum(row["hits"] for row in rows), sum(row["asked"] for row in rows)


def export_store(given: argparse.Namespace, console: Console) -> None:
    """Write a recording."""
    from cje.models.runner.upkeep import export_replies

    keys = None if given.all else run_keys()
    settings = load_settings().model_dump(mode="json")
    # A recording never reads itself: what it lacks now is what the store has.
    others = [path for path in recordings() if path.resolve() != given.to.resolve()]
    old = [given.to] if given.to.exists() else []
    made = dict(given.made)
    count, lacking = export_replies(store_folder(), [*old, *others], given.to, keys, settings, made)
    console.print(
        f"{given.to}: {counted(count, 'reply', 'replies')}, {size_words(given.to.stat().st_size)}"
    )
    if lacking:
        console.print(f"{counted(lacking, 'call')} of the run failed and left no reply")


def _fact(text: str) -> tuple[str, str]:
    """NAME=VALUE of the command line."""
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def import_store(given: argparse.Namespace, console: Console) -> None:
    """Add a recording to the store."""
    from cje.models.runner.upkeep import import_replies

    new, had = import_replies(store_folder(), given.recording)
    console.print(f"{counted(new, 'reply', 'replies')} added, {had:,} were there already")


def verify_store(given: argparse.Namespace, console: Console) -> int:
    """Name every problem; exit status 1 where there is one."""
    from cje.models.runner.upkeep import model_files, store_problems

    folder = None if given.recordings else store_folder()
    checked = given.recordings or recordings()
    problems = store_problems(folder, checked)
    if given.ask and not problems:
        problems = ask_recordings(checked, given.ask, console)
    for line in problems:
        console.print(line, style="red", markup=False, soft_wrap=True)
    files = len(checked) + (len(model_files(folder)) if folder else 0)
    console.print(f"{counted(files, 'file')} checked, {counted(len(problems), 'problem')}")
    return 1 if problems else 0


def ask_recordings(checked: list[Path], count: int, console: Console) -> list[str]:
    """What local models now say otherwise than the recordings."""
    from cje.models.runner.verification import ask_again

    problems = []
    for path in checked:
        found = ask_again(path, count)
        problems += found.problems
        console.print(
            f"{path}: {found.same} of {found.answers} answers sampled again are the same; "
            f"{counted(found.scored, 'text')} scored again, largest difference "
            f"{found.largest_gap:.1e} a token"
        )
    return problems


def prune_store(given: argparse.Namespace, console: Console) -> None:
    """Take replies out of the store."""
    from cje.models.runner.recording import Record
    from cje.models.runner.upkeep import forget_unusable, prune

    used = run_keys() if given.unused else frozenset()

    def drop(record: Record) -> bool:
        model = json.loads(record.request)["model"] if given.model else ""
        reasons = []
        if given.model:
            reasons.append(model in given.model)
        if given.before:
            reasons.append(record.at < given.before)
        if given.unused:
            reasons.append(record.key not in used)
        return bool(reasons) and all(reasons)

    words = "removed" if given.yes else "would be removed; --yes removes them"
    if given.failed:
        requests = forget_unusable(store_folder(), given.yes)
        console.print(f"{counted(requests, 'request')} with replies of no use: their notes {words}")
        if not (given.model or given.before or given.unused):
            return
    gone, size = prune(store_folder(), drop, given.yes)
    console.print(f"{counted(gone, 'record')}, {size_words(size)}: {words}")


def run_keys() -> frozenset[str]:
    """The keys of the requests that the tables of the last run rest on."""
    tables = sorted(DATA.glob(CALL_TABLES))
    if not tables:
        raise CJEError(f"{DATA / CALL_TABLES}: no such files; run dvc repro first")
    keys = pd.concat([read_table(path, "calls", ["key"]) for path in tables])["key"]
    return frozenset(keys)


def size_words(size: int) -> str:
    """Bytes in kB or MB."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
