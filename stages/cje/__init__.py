"""CJE: what a policy is worth, with an honest interval, for a fraction of the labels."""

__all__ = ["Analysis", "CJEError", "analyze"]


def __getattr__(name: str):
    """Import `analyze` and `Analysis` when first used: most stages need neither."""
    if name in ("Analysis", "analyze"):
        from cje import analysis

        return getattr(analysis, name)
    if name == "CJEError":
        from cje.errors import CJEError

        return CJEError
    raise AttributeError(f"module 'cje' has no attribute '{name}'")
