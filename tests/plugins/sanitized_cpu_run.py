"""`python sanitized_cpu_run.py LIBRARY SET [WORD]`: the cases of sanitized_run.py on a library for CPUs, a line each.

A script of its own, as that one: the sanitizers must be loaded before Python.
"""

from __future__ import annotations

import ctypes
import sys
import zlib
from types import SimpleNamespace

from sanitized_run import cases, run

ROWS = 3  # of a part


def as_launchers(library: ctypes.CDLL) -> SimpleNamespace:
    """The functions of launch.h, from those of hc_cpu.h: every image, in parts of rows."""

    def launcher(name: str, pointers: int, height: int, of_cells: bool):
        def call(*arguments):
            *given, batch = arguments[: pointers + 2]
            rest = arguments[pointers + 2 : -1]
            rows = (rest[height] + 1) // 2 if of_cells else rest[height]
            for image in range(batch):
                for first in range(0, rows, ROWS):
                    function = getattr(library, f"hc_cpu_{name}")
                    if error := function(*given, *rest, image, first, min(first + ROWS, rows)):
                        return error
            return 0

        call.__name__ = f"hc_{name}"
        return call

    return SimpleNamespace(
        hc_assign=launcher("assign", 3, 1, True),
        hc_decode=launcher("decode", 3, 1, True),
        hc_upsample=launcher("upsample", 4, 2, True),
        hc_argmax=launcher("argmax", 2, 3, False),
    )


def main() -> None:
    library, word = ctypes.CDLL(sys.argv[1]), sys.argv[3] if len(sys.argv) > 3 else ""
    if library.hc_cpu_use(sys.argv[2].encode()):
        sys.exit(f"no {sys.argv[2]} here")
    for name, (function, *arguments) in cases(as_launchers(library)):
        if word in name:
            print(name, run(function, zlib.crc32(name.encode()), *arguments), flush=True)


if __name__ == "__main__":
    main()
