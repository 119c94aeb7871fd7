"""The process that hands out tasks: all batches once, deaths noticed, the lock given back."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from waiting import SECONDS, until

from surrogates.errors import InputError
from surrogates.folders import Folder
from surrogates.pde.ensemble.dispatcher import Dispatcher, Requests, Task
from surrogates.pde.ensemble.lock import held, progress

ABOUT = {"groups": 1, "most": 1000, "total": 0, "done": 0, "failed": 0, "hosts": ["127.0.0.1"]}


def never() -> bool:
    return False


def about(pending: list[tuple[int, int]], groups: int = 1, **other: Any) -> dict[str, Any]:
    total = sum(stop - first for first, stop in pending)
    return {**ABOUT, "groups": groups, "total": total, **other}


@pytest.fixture
def dispatcher(tmp_path):
    made = Dispatcher(Folder.made(tmp_path))
    yield made
    made.end()


def work(requests: Requests, seconds: Callable[[Task], float]) -> list[Task]:
    """Do tasks that take some seconds, by what is said of them."""
    tasks: list[Task] = []
    report: dict[str, float] = {}
    while task := requests.next(never, **report):
        tasks.append(task)
        report = {"samples": task.count, "failed": 0, "seconds": seconds(task)}
    requests.close()
    return tasks


@pytest.mark.parametrize("hosts", [["127.0.0.1"], ["127.0.0.1", "127.0.0.2"]])
@pytest.mark.parametrize("groups", [1, 2, 7])
def test_the_tasks_of_any_number_of_groups_are_all_batches_once(
    dispatcher, tmp_path, groups, hosts
):
    pending = [(0, 1), (3, 200), (200, 203), (500, 900)]
    address = dispatcher.open(pending, **about(pending, groups, hosts=hosts))
    assert [host for host, _ in address["places"]] == hosts
    taken: list[list[Task]] = [[] for _ in range(groups)]
    barrier = threading.Barrier(groups)

    def group(i: int) -> None:
        requests = Requests(address)
        barrier.wait(SECONDS)
        taken[i] = work(requests, lambda task: 0.001 * (i + 1) * task.count)

    threads = [threading.Thread(target=group, args=(i,)) for i in range(groups)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    numbers = [
        number
        for tasks in taken
        for task in tasks
        for number in range(task.first, task.first + task.count)
    ]
    assert sorted(numbers) == [k for first, stop in pending for k in range(first, stop)]
    dispatcher.end()
    state = progress(Folder.there(tmp_path))
    assert (state["done"], state["solved"], state["ended"]) == (len(numbers), len(numbers), True)


def test_tasks_grow_to_a_fifth_of_a_second_and_shrink_towards_the_end(dispatcher):
    pending = [(0, 10_000)]
    address = dispatcher.open(pending, **about(pending, 2))
    counts = [task.count for task in work(Requests(address), lambda task: 1e-3 * task.count)]
    assert counts[0] == 1
    assert counts[1] == 200
    assert set(counts[1:30]) == {200}
    assert counts[-1] == 1
    assert counts[1:] == sorted(counts[1:], reverse=True)
    # No task is more than half of an equal share of what was left.
    left = 10_000
    for count in counts:
        assert count <= -(-left // 4)
        left -= count


def test_slow_batches_come_one_by_one(dispatcher):
    pending = [(0, 1000)]
    address = dispatcher.open(pending, **about(pending, most=60))
    slow = Requests(address)
    task = slow.next(never)
    for _ in range(5):
        assert task is not None and task.count == 1
        task = slow.next(never, samples=1, failed=0, seconds=3.0)
    slow.close()


def test_no_task_is_larger_than_a_block(dispatcher):
    pending = [(0, 1000)]
    address = dispatcher.open(pending, **about(pending, most=60))
    counts = [task.count for task in work(Requests(address), lambda task: 0.0)]
    assert max(counts) == 60


def test_those_who_have_nothing_to_do_wait_for_those_who_have(dispatcher):
    pending = [(0, 2)]
    address = dispatcher.open(pending, **about(pending, 2))
    first, second = Requests(address), Requests(address)
    assert first.next(never) == Task(0, 1)
    assert second.next(never) == Task(1, 1)
    given: list[Task | None] = []
    report = {"samples": 1, "failed": 1, "seconds": 1.0}
    asked: list[None] = []

    def on_request() -> bool:
        asked.append(None)
        return False

    waiting = threading.Thread(target=lambda: given.append(second.next(on_request, **report)))
    waiting.start()
    until(lambda: len(asked) > 2)
    assert given == []
    assert first.next(never, samples=1, failed=0, seconds=1.0) is None
    waiting.join(SECONDS)
    assert given == [None]
    assert (second.done, second.failed, second.stopped) == (2, 1, False)
    first.close()
    second.close()


def test_one_who_stops_stops_all(dispatcher, tmp_path):
    pending = [(0, 100)]
    address = dispatcher.open(pending, **about(pending, 2))
    first, second = Requests(address), Requests(address)
    assert first.next(never) == Task(0, 1)
    assert second.next(never) == Task(1, 1)
    report = {"samples": 1, "failed": 0, "seconds": 1.0}
    assert second.next(lambda: True, **report) is None
    assert first.next(never, **report) is None
    assert first.stopped and second.stopped
    assert first.done == 2
    first.close()
    second.close()
    until(lambda: progress(Folder.there(tmp_path)).get("done") == 2)


def test_a_stop_after_the_last_batch_is_none(dispatcher):
    pending = [(0, 1)]
    requests = Requests(dispatcher.open(pending, **about(pending)))
    assert requests.next(never) == Task(0, 1)
    assert requests.next(lambda: True, samples=1, failed=0, seconds=1.0) is None
    assert not requests.stopped
    requests.close()


def test_the_death_of_one_is_an_error_of_the_others(dispatcher):
    pending = [(0, 100)]
    address = dispatcher.open(pending, **about(pending, 2))
    dead, other = Requests(address), Requests(address)
    assert dead.next(never) == Task(0, 1)
    assert other.next(never) == Task(1, 1)
    dead._file.close()  # as the system does for a process that is no more
    dead._socket.close()
    stop = time.monotonic() + SECONDS
    with pytest.raises(ConnectionError, match="a process of the run has died"):
        while time.monotonic() < stop:
            other.next(never)
    other.close()


def test_the_death_of_the_dispatcher_is_an_error_of_all(dispatcher, tmp_path):
    pending = [(0, 100)]
    address = dispatcher.open(pending, **about(pending))
    requests = Requests(address)
    requests.next(never)
    until(lambda: bool(progress(Folder.there(tmp_path))))
    os.kill(progress(Folder.there(tmp_path))["pid"], signal.SIGKILL)
    with pytest.raises(ConnectionError, match="a process of the run has died"):
        requests.next(never, samples=1, failed=0, seconds=1.0)
    requests.close()
    until(lambda: not held(Folder.there(tmp_path)))
    with pytest.raises(ChildProcessError, match="has died"):
        dispatcher.open(pending, **about(pending))


def reset(stranger: socket.socket) -> None:
    """Have the connection end by a reset."""
    stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    "content",
    [
        b"no token\n" + json.dumps({"stop": True}).encode() + b"\n",
        b"\xff\xfe\x00" * 30 + b"\n",
        b"x" * 200_000,
        b"\n",
        b"",
    ],
    ids=["words", "bytes", "long", "line", "nothing"],
)
@pytest.mark.parametrize("ending", [lambda stranger: None, reset], ids=["closed", "reset"])
def test_a_stranger_is_given_nothing_and_ends_nothing(dispatcher, content, ending):
    pending = [(0, 3)]
    address = dispatcher.open(pending, **about(pending))
    requests = Requests(address)
    assert requests.next(never) == Task(0, 1)
    with closing(socket.create_connection(address["places"][0])) as stranger:
        with suppress(ConnectionError):  # it is closed on us in the midst of this
            stranger.sendall(content)
            if len(content) > 32:
                stranger.settimeout(SECONDS)
                assert stranger.recv(100) == b""
        ending(stranger)
    report = {"samples": 1, "failed": 0, "seconds": 0.0}
    while requests.next(never, **report):
        pass
    assert (requests.done, requests.stopped) == (3, False)
    requests.close()


def test_a_crowd_of_strangers_keeps_no_group_out(dispatcher, tmp_path):
    pending = [(0, 3)]
    address = dispatcher.open(pending, **about(pending))
    until(lambda: bool(progress(Folder.there(tmp_path))))
    files = Path("/proc", str(progress(Folder.there(tmp_path))["pid"]), "fd")
    with ExitStack() as crowd:
        for _ in range(600):
            place = address["places"][0]
            crowd.enter_context(closing(socket.create_connection(place, timeout=SECONDS)))
        until(lambda: len(list(files.iterdir())) < 300)
        requests = Requests(address)
        assert sum(task.count for task in work(requests, lambda task: 0.0)) == 3
    assert not requests.stopped


@pytest.mark.thorough
def test_a_stranger_who_says_nothing_is_sent_away(dispatcher):
    pending = [(0, 3)]
    address = dispatcher.open(pending, **about(pending))
    with closing(socket.create_connection(address["places"][0])) as stranger:
        stranger.sendall(b"abc")
        stranger.settimeout(SECONDS)
        assert stranger.recv(100) == b""


def test_words_that_are_no_group_s_after_the_token_end_the_run(dispatcher):
    pending = [(0, 3)]
    address = dispatcher.open(pending, **about(pending, 2))
    with closing(socket.create_connection(address["places"][0])) as strange:
        strange.sendall(address["token"].encode() + b"\n" + b'{"samples": 3}\n')
        strange.settimeout(SECONDS)
        assert strange.recv(1) == b"\n"
        assert strange.recv(1) == b""
    requests = Requests(address)
    with pytest.raises(ConnectionError, match="a process of the run has died"):
        requests.next(never)
    requests.close()


def test_a_place_where_nobody_answers_is_one_line(dispatcher, monkeypatch):
    monkeypatch.setattr("surrogates.pde.ensemble.dispatcher._CONNECT_SECONDS", 0.2)
    pending = [(0, 3)]
    address = dispatcher.open(pending, **about(pending))
    with pytest.raises(ConnectionError, match=r"cannot reach rank 0 at 127.0.0.1, port \d+.*face"):
        Requests({**address, "token": "0" * 32})


def test_the_lock_is_held_until_the_end(dispatcher, tmp_path):
    assert held(Folder.there(tmp_path))
    with pytest.raises(InputError, match=rf"another run.* is writing {tmp_path}; wait for its end"):
        Dispatcher(Folder.made(tmp_path))
    pending = [(0, 3)]
    dispatcher.open(pending, **about(pending))
    dispatcher.end()
    dispatcher.end()
    assert not held(Folder.there(tmp_path))
    second = Dispatcher(Folder.made(tmp_path))
    second.end()


# What rank 0 does, up to a solve that never ends, with a process that the solver has forked.
RANK = """
import os, signal, sys, time
from pathlib import Path
from surrogates.folders import Folder
from surrogates.pde.ensemble.dispatcher import Dispatcher
dispatcher = Dispatcher(Folder.made(Path(sys.argv[1])))
dispatcher.open(
    [(0, 9)], groups=1, most=9, total=9, done=0, failed=0, hosts=['127.0.0.1']
)
forked = os.fork()
if not forked:
    os.close(1)
    time.sleep(600)
print(forked, flush=True)
if sys.argv[2] == "end":
    dispatcher.end()
    print("ended", flush=True)
    os.kill(forked, signal.SIGKILL)
else:
    time.sleep(600)
"""


def rank(folder: Path, what: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RANK, str(folder), what], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    "kind", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.thorough)]
)
def test_the_process_and_its_lock_end_with_rank_0_whatever_that_has_forked(tmp_path, kind):
    with rank(tmp_path, "hang") as process:
        forked = process.stdout.readline()
        try:
            until(lambda: bool(progress(Folder.there(tmp_path))))
            pid = progress(Folder.there(tmp_path))["pid"]
            assert held(Folder.there(tmp_path))
            process.send_signal(kind)
            assert process.wait(SECONDS) == -kind
            until(lambda: not held(Folder.there(tmp_path)))
            until(lambda: not Path(f"/proc/{pid}").exists())
            assert progress(Folder.there(tmp_path))["ended"]
        finally:
            process.kill()
            os.kill(int(forked), signal.SIGKILL)  # it has outlived the others


def test_the_end_waits_for_nothing_that_rank_0_has_forked(tmp_path):
    with rank(tmp_path, "end") as process:
        try:
            assert process.communicate(timeout=SECONDS)[0].endswith("ended\n")
            assert process.returncode == 0
        finally:
            process.kill()


def test_signals_that_the_ranks_get_as_well_do_not_end_it(dispatcher, tmp_path):
    pending = [(0, 3)]
    requests = Requests(dispatcher.open(pending, **about(pending)))
    until(lambda: bool(progress(Folder.there(tmp_path))))
    for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(progress(Folder.there(tmp_path))["pid"], kind)
    assert sum(task.count for task in work(requests, lambda task: 0.0)) == 3


def test_a_folder_that_was_removed_meanwhile_is_no_folder_any_more(tmp_path):
    folder = Folder.made(tmp_path / "folder")
    (tmp_path / "folder").rmdir()
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/folder/lock"):
        Dispatcher(folder)


def test_a_module_in_the_working_folder_is_not_run(tmp_path, monkeypatch):
    for name in ("json", "asyncio", "runpy", "surrogates"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)\n")
    monkeypatch.chdir(tmp_path)
    Dispatcher(Folder.made(tmp_path / "folder")).end()


def test_a_write_to_a_dispatcher_that_died_is_an_error_though_petsc_would_end_the_process(tmp_path):
    program = """
import os, signal, sys
from pathlib import Path
from petsc4py import PETSc
from surrogates.folders import Folder
from surrogates.pde.ensemble.lock import progress
from surrogates.pde.ensemble.dispatcher import Dispatcher, Requests
dispatcher = Dispatcher(Folder.made(Path(sys.argv[1])))
requests = Requests(
    dispatcher.open([(0, 9)], groups=1, most=1, total=9, done=0, failed=0, hosts=['127.0.0.1'])
)
requests.next(lambda: False)
while not progress(Folder.there(Path(sys.argv[1]))):
    pass
os.kill(progress(Folder.there(Path(sys.argv[1])))["pid"], signal.SIGKILL)
for _ in range(3):
    try:
        requests.next(lambda: False)
    except ConnectionError:
        print("an error")
dispatcher.end()
"""
    words = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (0, "an error\n" * 3), done.stderr
