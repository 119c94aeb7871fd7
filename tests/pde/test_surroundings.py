"""What a solve changes of its process is put back."""

import ctypes
import locale
import os
import resource
import signal

import numpy as np
import pytest
from waiting import until

from surrogates.pde.surroundings import surroundings_kept

UPWARD = 0x800  # of fesetround, on x86-64
FILES = resource.RLIMIT_NOFILE


def rounding() -> int:
    return ctypes.CDLL(None).fegetround()


def other_locale() -> None:
    for name in ("C.UTF-8", "C.utf8", "POSIX"):
        locale.setlocale(locale.LC_NUMERIC, name)
        if state()["locale"] != before_locale:
            break


before_locale = locale.setlocale(locale.LC_ALL)


def state() -> dict:
    mask = os.umask(0o077)
    os.umask(mask)
    return {
        "folder": os.getcwd(),
        "mask": mask,
        "environment": dict(os.environ),
        "locale": locale.setlocale(locale.LC_ALL),
        "files": resource.getrlimit(FILES),
        "size": resource.getrlimit(resource.RLIMIT_FSIZE),
        "errors": np.geterr(),
        "rounding": rounding(),
    }


CHANGES = {
    "folder": lambda: os.chdir("/"),
    "mask": lambda: os.umask(0o123),
    "environment": lambda: (os.environ.clear(), os.environ.update(FORMER="2")),
    "locale": other_locale,
    "files": lambda: resource.setrlimit(FILES, (3, resource.getrlimit(FILES)[1])),
    "size": lambda: resource.setrlimit(
        resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    ),
    "errors": lambda: np.seterr(all="raise"),
    "rounding": lambda: ctypes.CDLL(None).fesetround(UPWARD),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("raises", [False, True])
def test_what_a_block_changes_is_put_back(what, raises, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = state()
    try:
        with surroundings_kept():
            CHANGES[what]()
            changed = what == "files" or state()[what] != before[what]
            if raises:
                raise ArithmeticError
    except ArithmeticError:
        assert raises
    if not changed:
        pytest.skip(f"this system has no other {what}")
    assert state() == before


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # it has threads
@pytest.mark.parametrize("fork", [os.fork, lambda: ctypes.CDLL(None).fork()])
def test_a_copy_of_the_process_does_not_come_out_of_the_block(fork, tmp_path):
    this = os.getpid()
    with surroundings_kept():
        pid = fork()
    if os.getpid() != this:  # it has come out
        os._exit(17)
    ended: list[int] = []

    def has_ended() -> bool:
        found, status = os.waitpid(pid, os.WNOHANG)
        ended.extend([status] * (found == pid))
        return bool(ended)

    try:
        until(has_ended)
    finally:
        if not ended:
            os.kill(pid, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(ended[0]) == 1
