"""Keeping OpenCV's, FFmpeg's and the image libraries' own chatter from the user's terminal: errors are ours to tell.

Three talkers, three switches: OpenCV's log level; FFmpeg's, which OpenCV reads from a variable of the process when it
first touches FFmpeg; and what C code prints straight to file descriptor 2 (`tag 'VP80' is not supported ...`, libpng's
and libjpeg's warnings), which only a redirection silences.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

from hc_deploy.system.interrupts import cleanup

FFMPEG_QUIET = "-8"  # AV_LOG_QUIET
STDERR = 2

_lock = threading.RLock()  # Ctrl-C may end the process while it is held
_depth = 0
_saved = -1


def quiet_opencv() -> None:
    """Set the log levels of OpenCV and FFmpeg to silent. Effective when called before the first video is opened."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", FFMPEG_QUIET)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """File descriptor 2 goes nowhere inside the block. Blocks may nest and overlap between threads."""
    _enter()
    with cleanup(_leave):
        yield


def _enter() -> None:
    global _depth, _saved
    with _lock:
        if _depth == 0:
            try:
                _saved = os.dup(STDERR)
            except OSError:  # no standard error at all: nothing to keep quiet
                _saved = -1
            else:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, STDERR)
                os.close(nowhere)
        _depth += 1


def _leave() -> None:
    global _depth, _saved
    with _lock:
        _depth -= 1
        if _depth == 0 and _saved != -1:
            os.dup2(_saved, STDERR)
            os.close(_saved)
            _saved = -1


quiet_opencv()
