"""Runs every branch of an emulated library; a script of its own, because the sanitizers must be loaded before Python.

`python sanitized_run.py LIBRARY [WORD]` prints a line a case, its name and the hash of its output: of all cases, or of
those with the word in their names. Numpy alone: torch's own start would be under the sanitizer too. Every buffer is
a malloc of exactly its size, so that one element too many is one in the sanitizer's guard zone.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import sys
import zlib
from collections.abc import Iterator

import numpy as np

LIBC = ctypes.CDLL(None)
LIBC.malloc.restype = ctypes.c_void_p
LIBC.malloc.argtypes = [ctypes.c_size_t]
LIBC.free.argtypes = [ctypes.c_void_p]

BYTES = (4, 2, 2)  # an element of float32, float16, bfloat16
NAMES = ("f32", "f16", "bf16")
SIZES = [(1, 1), (2, 64), (9, 66), (9, 67), (17, 3)]
LABEL_SIZES = [
    ((9, 67), (18, 134)),
    ((9, 66), (18, 132)),
    ((7, 13), (37, 131)),
    ((37, 149), (17, 31)),
    ((67, 129), (17, 130)),
    ((5, 3), (5, 3)),
]


class Options(ctypes.Structure):
    _fields_ = (("tau", ctypes.c_float), ("dot", ctypes.c_int), ("exclude", ctypes.c_int), ("hard", ctypes.c_int))


def random_bits(generator: np.random.Generator, count: int, kind: int) -> bytes:
    """Normal numbers, with a few zeros, a NaN and an infinity among many."""
    values = generator.standard_normal(count).astype(np.float32)
    values[generator.random(count) < 0.01] = 0
    if count > 1000:
        values[count // 3], values[count // 2] = np.nan, np.inf
    if kind == 1:
        return values.astype(np.float16).tobytes()
    return values.tobytes() if kind == 0 else (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()


def digest(output: bytes, kind: int) -> str:
    """Of the bits, but for those of a float32 NaN: which of two NaNs a sum hands on is the compiler's choice."""
    if kind == 0:
        values = np.frombuffer(output, np.float32).copy()
        values[np.isnan(values)] = np.nan
        output = values.tobytes()
    return hashlib.sha256(output).hexdigest()[:16]


def run(
    function: ctypes._CFuncPtr, seed: int, kind: int, inputs: list[int], output: int, tail: list, offset: int
) -> str:
    """One call: `inputs` are counts of elements, `output` of bytes; all begin `offset` elements into their memory."""
    generator = np.random.default_rng(seed)
    memory = []
    pointers = []
    for data in [random_bits(generator, count, kind) for count in inputs] + [b"\xff" * output]:
        skip = offset * (4 if len(memory) == len(inputs) and "argmax" in function.__name__ else BYTES[kind])
        memory.append(LIBC.malloc(len(data) + skip))
        pointers.append(memory[-1] + skip)
        ctypes.memmove(pointers[-1], data, len(data))
    error = function(*map(ctypes.c_void_p, pointers), kind, *tail, None)
    result = digest(ctypes.string_at(pointers[-1], output), kind)
    for address in memory:
        LIBC.free(address)
    return result if error == 0 else f"error {error}"


def cases(library: ctypes.CDLL) -> Iterator[tuple[str, tuple]]:
    """Name and arguments of `run`: every type, both reads (pairs, single), K fixed and free, all options."""
    flags = itertools.cycle(itertools.product((0, 1), repeat=3))
    for kind, (height, width), offset in itertools.product(range(3), SIZES, (0, 1)):
        h, w, batch = (height + 1) // 2, (width + 1) // 2, 2
        fine, coarse, unit = batch * height * width, batch * h * w, BYTES[kind]
        label = f"{NAMES[kind]} {height}x{width} +{offset}"
        for channels in (1, 7, 64):
            options = Options(0.07, *next(flags))
            sizes, classes = [batch, channels, height, width, options], 5
            inputs = [fine * channels, coarse * channels]
            yield f"assign K={channels} {label}", (library.hc_assign, kind, inputs, 9 * fine * unit, sizes, offset)
            yield (
                f"upsample K={channels} {label}",
                (library.hc_upsample, kind, [coarse * classes, *inputs], fine * classes * unit,
                 [batch, classes, *sizes[1:]], offset),
            )  # fmt: skip
        for classes in (1, 4, 6):
            inputs = [coarse * classes, 9 * fine]
            sizes = [batch, classes, height, width]
            yield f"decode C={classes} {label}", (library.hc_decode, kind, inputs, fine * classes * unit, sizes, offset)
    for kind, ((h, w), (height, width)), offset in itertools.product(range(3), LABEL_SIZES, (0, 1)):
        sizes = [2, 5, h, w, height, width]
        name = f"argmax {NAMES[kind]} {h}x{w} {height}x{width} +{offset}"
        yield name, (library.hc_argmax, kind, [10 * h * w], 8 * height * width, sizes, offset)


def main() -> None:
    word = sys.argv[2] if len(sys.argv) > 2 else ""
    for name, (function, *arguments) in cases(ctypes.CDLL(sys.argv[1])):
        if word in name:
            print(name, run(function, zlib.crc32(name.encode()), *arguments), flush=True)


if __name__ == "__main__":
    main()
