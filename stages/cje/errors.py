"""Errors that are meant for the person who runs CJE."""

import errno

NO_ROOM = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EACCES: "not allowed; mend the permissions of the file or its folder",
    errno.EPERM: "not allowed; mend the permissions of the file or its folder",
    errno.EROFS: "the disk is read-only; work in another folder",
    errno.EFBIG: "the file is too large for this disk or account",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
}


class CJEError(ValueError):
    """Something the user can mend: the message says what is wrong, where, and what to do."""


def disk_problem(error: OSError) -> str | None:
    """Words for a disk that is full, read-only or closed to us; None for other errors."""
    number = error.errno
    if number is None:  # pyarrow's own
        number = next((n for n in NO_ROOM if f"errno {n}]" in str(error).lower()), None)
    if number not in NO_ROOM:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{NO_ROOM[number]}, then run this again: what was paid for is kept"
