"""The thresholds of the guard rails as settings."""

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, create_model, field_validator

from cje.settings.values import COUNT_WORDS, FROZEN, SHARE_WORDS, Count, Share
from cje.thresholds import THRESHOLD_LIST


class _GuardRailRules(BaseModel):
    """How the thresholds of the guard rails must relate to each other."""

    model_config = ConfigDict(**FROZEN, validate_default=True)

    @field_validator("refuse_ess", check_fields=False)
    @classmethod
    def _refuse_ess(cls, value: float, info: ValidationInfo) -> float:
        caution = info.data.get("caution_ess")
        if caution is not None and value > caution:
            raise ValueError(f"{value:g} is not allowed; give at most caution_ess, {caution:g}")
        return value


KINDS = {"count": (Count, COUNT_WORDS), "share": (Share, SHARE_WORDS)}  # of thresholds


def _threshold_fields() -> dict[str, Any]:
    """A field for every threshold of the list, in its order."""
    fields = {}
    for threshold in THRESHOLD_LIST:
        kind, words = KINDS[threshold.kind]
        fields[threshold.name] = (kind, Field(threshold.default, description=words))
    return fields


if TYPE_CHECKING:  # a type checker cannot see a class that is made from a list
    GuardRails = _GuardRailRules
else:
    GuardRails = create_model(
        "GuardRails",
        __base__=_GuardRailRules,
        __doc__="The thresholds of the guard rails; what is left out has its default.",
        **_threshold_fields(),
    )
