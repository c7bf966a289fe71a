"""Planted decoders, which fail the way real ones do: Python imports this file at its start where it is on the path.

They stand in for libsndfile only for files that begin with one of the words below, and fail by that word.
"""

import ctypes
import os
import signal
import sys

import numpy as np
import soundfile

_earlier_files = []


def _abort():
    os.abort()


def _segfault():
    ctypes.string_at(0)


def _sleep():
    ctypes.PyDLL(None).sleep(1_000_000)  # with the interpreter's lock held, as a loop in C would


def _eat():
    eaten = []
    while True:
        eaten.append(np.ones(1 << 23))


def _exit():
    os._exit(3)


def _print():
    os.write(1, b"words on stdout\n" * 1000)
    os.write(2, b"words on stderr\n" * 1000)
    raise soundfile.LibsndfileError(1, "printed")


def _crash_if_used():
    if len(_earlier_files) > 2:  # a child warms up by writing a file and reading it
        os.abort()
    raise soundfile.LibsndfileError(1, "survived")


def _garble():
    os.write(int(sys.argv[1]), b"\0\0\0\4ugh!" * 2)
    signal.pause()


def _killed():
    os.kill(os.getpid(), signal.SIGKILL)


PLANTED = {
    b"GARBLE": _garble,
    b"KILLED": _killed,
    b"ABORT": _abort,
    b"SEGFAULT": _segfault,
    b"SLEEP": _sleep,
    b"EAT": _eat,
    b"EXIT": _exit,
    b"PRINT": _print,
    b"CRASH-IF-USED": _crash_if_used,
}


class _Planted(soundfile.SoundFile):
    def __init__(self, file, *args, **kwargs):
        head = os.pread(file, 16, 0) if isinstance(file, int) else b""
        for word, fail in PLANTED.items():
            if head.startswith(word):
                fail()
        _earlier_files.append(file)
        super().__init__(file, *args, **kwargs)


soundfile.SoundFile = _Planted
