"""Errors that are meant for the person who runs CJE."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

NO_ROOM = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EACCES: "not allowed; fix the permissions of the file or its folder",
    errno.EPERM: "not allowed; fix the permissions of the file or its folder",
    errno.EROFS: "the disk is read-only; work in another folder",
    errno.EFBIG: "the file is too large for this disk or account",
    errno.EISDIR: "this is a folder, and a file is needed; name a file, or move the folder away",
    errno.ENOTDIR: "a file is in a folder's place; move it away",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
}


class CJEError(ValueError):
    """Something the user can fix: the message says what is wrong, where, and what to do."""


class Waiting(CJEError):
    """Nothing is wrong: labels are still to come, and the message says which or why."""


@contextmanager
def writing(path: str | PathLike[str]) -> Iterator[None]:
    """While the file is written: a disk that is full or closed to us is a CJEError that names it,
    which the system's own error does at opening alone."""
    try:
        yield
    except OSError as error:
        if (problem := disk_problem(error, path)) is None:
            raise
        raise CJEError(problem) from error


def disk_problem(error: OSError, path: str | PathLike[str] | None = None) -> str | None:
    """Words for a disk that is full, read-only or closed to us; None for other errors. `path`: the
    file, where the error does not name it."""
    number = error.errno
    if number is None:  # pyarrow's own
        number = next((n for n in NO_ROOM if f"errno {n}]" in str(error).lower()), None)
    if number not in NO_ROOM:
        return None
    file = error.filename or path
    where = f"{file}: " if file else ""
    return f"{where}{NO_ROOM[number]}, then run this again: what was paid for is kept"
