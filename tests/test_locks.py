"""A killed process never blocks another one, even where the system has no locks of its own."""

import errno
import os
import threading
import time

import pytest

from cje.models.runner import locks
from cje.models.runner.locks import UNWRITTEN_SECONDS, Lock, locked


@pytest.fixture
def no_native_locks(monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(locks, "lock_descriptor", refuse)
    monkeypatch.setattr(locks, "unlock_descriptor", refuse)


def unwritten_marker(path, seconds_ago):
    """What a process leaves that is killed between making its marker and writing its name."""
    marker = path.with_name(f"{path.name}.held")
    marker.touch()
    os.utime(marker, (time.time() - seconds_ago,) * 2)


def test_a_marker_that_a_killed_process_left_empty_blocks_nobody_for_ever(
    tmp_path, no_native_locks
):
    unwritten_marker(tmp_path / "lock", UNWRITTEN_SECONDS / 2)
    assert not Lock(tmp_path / "lock").acquire(blocking=False)  # it may be written yet
    unwritten_marker(tmp_path / "lock", UNWRITTEN_SECONDS + 1)
    with Lock(tmp_path / "lock"):
        assert not Lock(tmp_path / "lock").acquire(blocking=False)
    assert os.listdir(tmp_path) == ["lock"]


@pytest.mark.parametrize("native", [True, False])
def test_one_at_a_time_holds_a_lock(tmp_path, native, request):
    if not native:
        request.getfixturevalue("no_native_locks")
        unwritten_marker(tmp_path / "lock", UNWRITTEN_SECONDS + 1)
    holders, most = [], []

    def hold():
        for _ in range(10):
            with locked(tmp_path / "lock"):
                holders.append(1)
                most.append(len(holders))
                time.sleep(0.0005)
                holders.pop()

    threads = [threading.Thread(target=hold) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 60


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_a_lock_held_for_a_block_leaves_no_file_open(tmp_path):
    with locked(tmp_path / "lock"):
        pass
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with locked(tmp_path / "lock"):
            pass
    assert len(os.listdir("/proc/self/fd")) == before
