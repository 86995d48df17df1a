"""The command `cje`, for an environment in which `cje` may be another project's package."""

import sys


def main() -> None:
    """Run the command, or say whose package it is that Python finds in place of this project's."""
    import cje

    if getattr(cje, "DISTRIBUTION", None) != "cje-pipeline":
        sys.exit(
            f"error: the package `cje` in {next(iter(cje.__path__))} is another project's, such as "
            "cje-eval; install cje-pipeline in an environment of its own: python -m venv .venv"
        )
    from cje.cli import main

    main()
