"""Builds the CUDA kernels for the CPU: launch.cu -> libhc_kernels_emulated.so, launch.h's interface on host memory.

Needs g++ and the C++ headers of CUDA: those of the wheel nvidia-cuda-runtime-cu12, else of an installed toolkit. No
GPU, no nvcc. As a command: `python plugins/emulator/build.py -o DIR [--sanitize]` prints the library's path.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

EMULATOR = Path(__file__).resolve().parent
LAUNCHERS = EMULATOR.parent / "kernels" / "launch.cu"
LIBRARY = "libhc_kernels_emulated.so"

# Contraction is off so that all builds round alike: the sanitized library must give the very bits of the plain one.
FLAGS = ("-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-DHC_EMULATED")
PLAIN = ("-O2",)
# Without optimisation the compiler takes a third of the time (5 s of 15), and no fault is optimised away.
SANITIZED = ("-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


class BuildError(Exception):
    """g++ or CUDA's headers are absent, or g++ refused the source; the message says which and what mends it."""


def header_folders() -> Iterator[Path]:
    """Where CUDA's headers may lie, best first."""
    found = importlib.util.find_spec("nvidia")
    for packages in (found.submodule_search_locations or ()) if found else ():
        yield Path(packages) / "cuda_runtime" / "include"
    compiler = shutil.which("nvcc")
    if compiler:
        yield Path(compiler).resolve().parent.parent / "include"
    yield Path("/usr/local/cuda/include")


def cuda_headers() -> Path:
    """The folder with cuda_fp16.h; BuildError where none has it."""
    for folder in header_folders():
        if (folder / "cuda_fp16.h").is_file():
            return folder
    raise BuildError(
        f"cuda_fp16.h not found in {', '.join(map(str, header_folders()))}\ntry: pip install nvidia-cuda-runtime-cu12"
    )


def build(output_dir: Path, *, source: Path = LAUNCHERS, sanitize: bool = False, headers: Path | None = None) -> Path:
    """Compile `source` for the CPU and return the library's path in `output_dir`.

    Args:
        output_dir: made if absent.
        source: launch.cu, or a copy of it beside its kernels and the emulator.
        sanitize: with AddressSanitizer and UndefinedBehaviorSanitizer; the loading process must preload libasan.
        headers: CUDA's headers; found where they usually lie if not given.

    Raises:
        BuildError: g++ or the headers are absent, or the source does not compile.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    library = output_dir / LIBRARY
    command = ["g++", *FLAGS, *(SANITIZED if sanitize else PLAIN), "-I", str(EMULATOR / "headers")]
    command += ["-isystem", str(headers or cuda_headers()), "-x", "c++", str(source), "-o", str(library)]
    if shutil.which("g++") is None:
        raise BuildError("g++ not found\ntry: apt-get install g++")
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise BuildError(f"{' '.join(command)}\n{done.stderr}")
    return library


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--sanitize", action="store_true", help="with the address and undefined-behaviour sanitizers")
    options = parser.parse_args()
    try:
        print(build(options.output, sanitize=options.sanitize))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
