"""`cje run`: the whole pipeline in one line of flags, as one DVC experiment."""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from rich.console import Console
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cje.commands.leftovers import clear_leftovers
from cje.errors import CJEError
from cje.models.runner.place import project_root
from cje.settings import Settings, parse_settings

PARAMS = Path("params.yaml")


def samples(text: str) -> int | str:
    """A number of prompts, or auto."""
    return text if text == "auto" else int(text)


FLAGS: dict[str, tuple[str, Callable[[str], Any], str]] = {  # flag: setting, its type, what it is
    "--max-samples": ("max_samples", int, "Use at most this many prompts"),
    "--oracle-fraction": ("oracle_fraction", float, "Have the oracle label this share of the logs"),
    "--target-labels": (
        "target_labels",
        int,
        "Have the oracle label this many answers of each target",
    ),
    "--oracle-samples": (
        "oracle_samples",
        samples,
        "Check the estimates with labels on this many prompts",
    ),
    "--base-model": ("base_model", str, "Let this policy write the logs"),
    "--oracle-model": ("oracle_model", str, "Take the labels of this expensive judge as the truth"),
    "--proxy-model": ("proxy_model", str, "Let this cheap judge score every answer"),
    "--target-models": ("target_models", str, "Evaluate these policies"),
    "--temperature": (
        "temperature",
        float,
        "Sample at this temperature where a policy has none of its own",
    ),
    "--top-p": ("top_p", float, "Sample with this top_p, likewise"),
    "--seed": ("seed", int, "Seed everything random with this"),
    "--max-cost": ("max_cost_usd", float, "Stop before new calls cost more dollars than this"),
}
PLAIN = re.compile(r"[A-Za-z0-9_./-]+")
QUOTE = re.compile(r"(\\*)('|$)")
EXAMPLES = """\
examples:
  cje run --max-samples 100 --oracle-fraction 0.5
  cje run --base-model gpt-5.4-mini --target-models gpt-5.4 claude-haiku-4-5 \\
          --oracle-model gpt-6.1-sol --proxy-model gpt-6-luna -S top_p=null --max-cost 20 --dry-run
  cje run -S estimator=direct -S policies.cooler.temperature=0.5
A model is provider/name or a policy that params.yaml defines; docs/models.md lists the providers.
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command and its flags, with the defaults that params.yaml has now."""
    run = commands.add_parser(
        "run", help="Run the pipeline: log, label, score, calibrate, estimate, validate.",
        description="Run the pipeline with these settings as a DVC experiment, print what it\n"
        "found and write the run folder. Settings that are not given are those of params.yaml.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    now = current_settings()
    for flag, (key, kind, words) in FLAGS.items():
        value = "no limit" if key == "max_cost_usd" and now.get(key) is None else now.get(key)
        shown = (
            f" (default: {', '.join(value) if isinstance(value, list) else value})"
            if key in now
            else ""
        )
        run.add_argument(
            flag, dest=key, type=kind, help=f"{words}{shown}.".replace("%", "%%"),
            metavar={int: "N", samples: "N", float: "X", str: "MODEL"}[kind],
            nargs="+" if key == "target_models" else None,
        )  # fmt: skip
    run.add_argument(
        "--batch",
        action="store_true",
        help="Use batch interfaces: half the price, up to a day's wait.",
    )
    run.add_argument(
        "-S", "--set-param", action="append", default=[], metavar="KEY=VALUE",
        help="Set any other setting of params.yaml, as dvc exp run does.",
    )  # fmt: skip
    run.add_argument(
        "--name", metavar="NAME", help="Name the experiment (default: a name that DVC makes)."
    )
    run.add_argument(
        "--dry-run", action="store_true", help="Say what would run and what it would cost."
    )
    run.set_defaults(run=run_pipeline)


def current_settings() -> dict[str, Any]:
    """What params.yaml holds, for the help; nothing where it cannot be read."""
    try:
        return dict(YAML(typ="safe").load(PARAMS.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, YAMLError):
        return {}


def run_pipeline(given: argparse.Namespace, console: Console) -> int:
    """Check the settings, run the experiment, show and export what it found."""
    changes = overrides(given)
    settings = changed_settings(changes)
    check_repository()
    command = ["exp", "run", *(part for change in changes for part in ("-S", change))]
    command += ["--name", given.name] if given.name else []
    console.print(f"$ {shlex.join(['dvc', *command])}", style="bold", markup=False, soft_wrap=True)
    if given.dry_run:
        from cje.commands.cost import print_forecast

        print_forecast(settings, console)
        console.print("Nothing was run; leave out --dry-run to run it.")
        return 0
    if settings.source == "models":
        from cje.models.runner.calls import Calls
        from cje.pipeline.cast import cast_of, check_cast, moved

        check_cast(settings, Calls(settings, "check_settings"))  # before anything changes
        if models := moved(cast_of(settings)):
            words = f"Another address or chat template than before: {', '.join(models)}"
            console.print(f"{words}; so all runs again (--force)", markup=False, soft_wrap=True)
            command.append("--force")  # DVC sees no variable of the environment
    for path in clear_leftovers(project_root()):
        console.print(
            f"Removed what an interrupted DVC left behind: {path}", markup=False, soft_wrap=True
        )
    if status := run_dvc(command):
        if changes:
            console.print(
                f"{PARAMS} keeps the change ({', '.join(changes)}): cje run or dvc repro goes on "
                "from here; git checkout . && dvc checkout goes back to the last commit",
                markup=False, soft_wrap=True,
            )  # fmt: skip
        return status
    from cje.commands.export import export_run
    from cje.results.console import print_summary
    from cje.results.opening import open_run
    from cje.results.view import RunView

    view = RunView(open_run("."))
    print_summary(view, console)
    export_run(view, console)
    return 0


def overrides(given: argparse.Namespace) -> list[str]:
    """The settings that were given, as DVC's `-S` takes them."""
    values = {key: getattr(given, key) for key, _, _ in FLAGS.values()}
    values |= {"batch": True} if given.batch else {}
    changes = [f"{key}={override(value)}" for key, value in values.items() if value is not None]
    return [*changes, *given.set_param]


def override(value: Any) -> str:
    """A value in the grammar of Hydra's overrides, which DVC uses."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(override, value))}]"
    if isinstance(value, str) and not PLAIN.fullmatch(value):
        return f"'{QUOTE.sub(escaped, value)}'"
    return str(value)


def escaped(found: re.Match[str]) -> str:
    """A quote inside quotes; backslashes count twice before one, and only there."""
    backslashes, quote = found.groups()
    return 2 * backslashes + ("\\'" if quote else "")


def changed_settings(changes: list[str]) -> Settings:
    """The settings that the experiment would have; raises CJEError where they cannot be."""
    try:
        text = PARAMS.read_text(encoding="utf-8")
    except OSError as error:
        raise CJEError(
            f"{PARAMS}: cannot be read ({error.strerror}); run this in the project's folder"
        ) from None
    from dvc.exceptions import InvalidArgumentError
    from dvc.utils.hydra import apply_overrides

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / PARAMS
        copy.write_text(text, encoding="utf-8")
        try:
            if changes:
                apply_overrides(copy, changes)
        except InvalidArgumentError as error:
            raise CJEError(
                f"-S: {str(error.__cause__).splitlines()[0].rstrip('.')}; {meant(changes)}write "
                "key=value with a "
                "key of params.yaml (a new one takes a + before it), a list as [a,b]"
            ) from None
        values = YAML(typ="safe").load(copy.read_text(encoding="utf-8"))
    return parse_settings(values, str(PARAMS))


def meant(changes: list[str]) -> str:
    """A question, where the key of one of the changes nearly is that of a setting."""
    keys = [change.partition("=")[0] for change in changes]
    unknown = [key for key in keys if key.partition(".")[0] not in Settings.model_fields]
    near = [found for key in unknown for found in get_close_matches(key, Settings.model_fields, 1)]
    return f"did you mean {near[0]}? " if near else ""


def check_repository() -> None:
    """Raise CJEError where DVC could make no experiment of the run."""
    for command, words in (
        (
            ["git", "rev-parse", "--verify", "--quiet", "HEAD"],
            "an experiment needs a git repository with a commit: git init && git add . && "
            "git commit -m start.\nWithout git: dvc config core.no_scm true && dvc repro",
        ),
        (
            ["git", "var", "GIT_COMMITTER_IDENT"],
            "git does not know your name, which an experiment needs: git config user.name NAME "
            "&& git config user.email ADDRESS",
        ),
    ):
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            raise CJEError("git is not installed; install it") from None
        if done.returncode:
            raise CJEError(words)


def run_dvc(arguments: list[str]) -> int:
    """Run DVC with this Python's programs first on the path; its exit status.

    Ctrl-C reaches DVC and the stage, too, which keeps what was paid for: so wait for their end.
    """
    programs = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"}
    process = subprocess.Popen([sys.executable, "-m", "dvc", *arguments], env=environment)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue
