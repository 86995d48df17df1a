"""Errors that are meant for the person who runs CJE."""


class CJEError(ValueError):
    """Something the user can mend: the message says what is wrong, where, and what to do."""
