"""params.yaml as one typed object, checked before any stage works."""

from cje.settings.guard_rails import GuardRails
from cje.settings.reading import load_settings, parse_settings
from cje.settings.schema import CALL_SETTINGS, Judge, Policy, Prices, Settings
from cje.settings.values import HUMAN, address_problem, policy_name_problem, show_value

__all__ = [
    "CALL_SETTINGS",
    "HUMAN",
    "GuardRails",
    "Judge",
    "Policy",
    "Prices",
    "Settings",
    "address_problem",
    "load_settings",
    "parse_settings",
    "policy_name_problem",
    "show_value",
]
