"""CJE: what a policy is worth, with an honest interval, for a fraction of the labels."""

import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cje.errors import CJEError
    from cje.stats.analysis import Analysis, analyze

    __version__: str

INTERRUPTED = "interrupted: the replies so far are kept, run again to go on"
__all__ = ["Analysis", "ArenaAnalyzer", "CJEError", "__version__", "analyze"]
DISTRIBUTION = "cje-pipeline"  # `cje` and `cje-eval` are other projects' names on the package index


def __getattr__(name: str) -> object:
    """Import what the library offers when first used: most stages need none of them."""
    if name in ("Analysis", "analyze"):
        from cje.stats import analysis

        return getattr(analysis, name)
    if name == "ArenaAnalyzer":
        from cje.results.notebook import ArenaAnalyzer

        return ArenaAnalyzer
    if name == "CJEError":
        from cje.errors import CJEError

        return CJEError
    if name == "__version__":
        from importlib.metadata import version

        return version(DISTRIBUTION)
    raise AttributeError(f"module 'cje' has no attribute '{name}'")


def _say_interrupted(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """In place of a traceback, where Ctrl-C finds a program of ours still importing."""
    if issubclass(kind, KeyboardInterrupt):
        print(INTERRUPTED, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


# A stage under DVC, or the command: never the program of somebody who imports the library.
if "DVC_STAGE" in os.environ or os.path.basename(sys.argv[0]) == "cje":
    sys.excepthook = _say_interrupted
