"""A thread that waits for a collector's answer sleeps until it comes, or until the call ends."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc import _common as grpc_waiting

import forebay_agent.channel  # noqa: F401 - for what it does to waiting threads

_METHOD = "/test.Answers/Some"


@contextmanager
def call_of(answers: queue.SimpleQueue[bytes | None]) -> Iterator[grpc.CallIterator[bytes]]:
    """A call whose answers are what is put into the queue; None ends it."""

    def behave(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        while (answer := answers.get()) is not None:
            yield answer

    server = grpc.server(ThreadPoolExecutor(2))
    handler = grpc.stream_stream_rpc_method_handler(behave)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Answers", {"Some": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel.stream_stream(_METHOD)(iter(()))
    finally:
        answers.put(None)
        server.stop(0).wait()


def sleeps_of(thread: threading.Thread) -> int:
    """How often the thread has gone to sleep so far, as the kernel counts it."""
    told = Path(f"/proc/self/task/{thread.native_id}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in told if line.startswith("voluntary_ctxt_switches"))


def listening(call: grpc.CallIterator[bytes], heard: queue.SimpleQueue[bytes]) -> threading.Thread:
    def listen() -> None:
        try:
            for answer in call:
                heard.put(answer)
        except grpc.RpcError:
            pass

    thread = threading.Thread(target=listen)
    thread.start()
    return thread


def test_a_thread_that_waits_for_an_answer_sleeps_and_the_answer_wakes_it() -> None:
    answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    with call_of(answers) as call:
        thread = listening(call, heard)
        answers.put(b"first")
        assert heard.get(timeout=30) == b"first"
        time.sleep(0.5)
        before = sleeps_of(thread)
        time.sleep(2)
        assert sleeps_of(thread) - before <= 5  # grpcio's own way: 20
        answers.put(b"second")
        assert heard.get(timeout=30) == b"second"
        answers.put(None)
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.parametrize("end", ["the server", "cancel"])
def test_the_end_of_a_call_wakes_who_waits_for_its_answer(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_waiting, "MAXIMUM_WAIT_TIMEOUT", 300.0)
    answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    with call_of(answers) as call:
        thread = listening(call, queue.SimpleQueue())
        time.sleep(0.5)
        ends: dict[str, Callable[[], object]] = {"the server": lambda: answers.put(None), "cancel": call.cancel}
        ends[end]()
        thread.join(60)
        assert not thread.is_alive()
