"""Check every setting, before any other stage works, and write down who plays which part."""

from cje.models.runner.calls import Calls
from cje.pipeline.cast import cast_of, check_cast, write_cast
from cje.pipeline.stage import run
from cje.settings import load_settings


def main() -> str:
    settings = load_settings()
    if settings.source == "files":
        write_cast(settings, None)
        return "The settings are sound; the answers are in files"
    check_cast(settings, Calls(settings, "check_settings"))
    cast = cast_of(settings)
    write_cast(settings, cast)
    return f"The settings are sound: {cast.base.name} and {len(cast.targets)} targets"


if __name__ == "__main__":
    run(main, "Checking the settings")
