"""Check every setting before any other stage runs, and write the cast."""

from cje.models.runner.calls import Calls
from cje.pipeline.cast import cast_of, check_cast, write_cast
from cje.pipeline.stage import run
from cje.settings import load_settings
from cje.vocabulary import counted


def main() -> str:
    settings = load_settings()
    if settings.source == "files":
        write_cast(settings, None)
        return "The settings are valid; the answers are in files"
    check_cast(settings, Calls(settings, "check_settings"))
    cast = cast_of(settings)
    write_cast(settings, cast)
    return f"The settings are valid: {cast.base.name} and {counted(len(cast.targets), 'target')}"


if __name__ == "__main__":
    run(main, "Checking the settings")
