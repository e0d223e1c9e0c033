"""stdout leads elsewhere as long as anybody wants it to, and back."""

import ctypes
import os
import threading

import pytest

from onnxpath.engine.quiet import printed, stdout_to_stderr
from tests.engine.simulated import say


def test_what_python_and_c_print_is_collected(capfd):
    print("before")
    with printed() as lines:
        print("from Python")
        say("from C")
        if os.name == "posix":
            ctypes.CDLL(None).puts(b"held back by C")
    print("after")
    assert sorted(lines) == sorted(
        ["from Python", "from C", *(["held back by C"] if os.name == "posix" else [])]
    )
    assert capfd.readouterr() == ("before\nafter\n", "")


def test_it_goes_to_stderr(capfd):
    with stdout_to_stderr(), stdout_to_stderr():
        print("twice away")
        say("in C")
    print("back")
    out, err = capfd.readouterr()
    assert out == "back\n" and set(err.splitlines()) == {"twice away", "in C"}


def test_an_error_brings_it_back(capfd):
    for away in (printed, stdout_to_stderr):
        with pytest.raises(ValueError), away():
            raise ValueError
    print("here")
    assert capfd.readouterr().out == "here\n"


def test_threads_that_overlap_leave_it_as_it_was(capfd):
    first, second = threading.Event(), threading.Event()

    def other() -> None:
        with stdout_to_stderr():
            first.set()
            second.wait(10)

    thread = threading.Thread(target=other)
    with stdout_to_stderr():
        thread.start()
        first.wait(10)
    say("still away")
    second.set()
    thread.join()
    say("back")
    assert capfd.readouterr() == ("back\n", "still away\n")
