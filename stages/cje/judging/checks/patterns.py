"""Regular expressions that cannot hang: those of Rust, as pydantic has them."""

from functools import lru_cache

from pydantic_core import SchemaError, SchemaValidator, core_schema


@lru_cache(maxsize=512)
def pattern_matcher(pattern: str) -> SchemaValidator:
    """A search for the pattern in time linear in the text: Rust's regular expressions, which have
    no look-around and no back-references. Raises ValueError for an invalid pattern."""
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, strict=True))
    except SchemaError as error:
        lines = str(error).splitlines()
        reason = lines[-1].removeprefix("error: ").strip().removeprefix("SchemaError: ")
        raise ValueError(f"is not a valid pattern: {reason}") from None
