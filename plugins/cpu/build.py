"""Builds the kernels for CPUs and the ONNX Runtime ops around them: hc_deploy/lib/libhc_cpu.so, in seconds.

Needs g++ or clang++, no header or library of any other kind. The kernels are compiled once for each instruction set of
the processor's family; which of them runs is decided when the library is loaded. As a command:
`python plugins/cpu/build.py [-o DIR] [--compiler NAME] [--sanitize]` prints the library's path. No .venv needed.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PLUGINS = Path(__file__).resolve().parents[1]
LIBRARIES = PLUGINS.parent / "hc_deploy" / "lib"
LIBRARY = "libhc_cpu.so"
COMPILERS = ("g++", "clang++", "c++")
ONE_SET = "instruction_set.cpp"
OTHERS = ("cpu/dispatch.cpp", "onnxruntime/library.cpp", "onnxruntime/ops.cpp")

FLAGS = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-psabi")
PLAIN = ("-O3", "-fno-math-errno")
SANITIZED = ("-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
SERIAL = ("-DHC_SERIAL", "-fno-tree-vectorize", "-ffp-contract=off")
AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512")
SETS = {
    "x86_64": {"avx512": AVX512, "avx2": ("-mavx2", "-mfma"), "serial": SERIAL},
    "aarch64": {"neon": (), "serial": SERIAL},
}
"""Processor family -> instruction sets and their flags; the other families have the serial one alone."""


class BuildError(Exception):
    """No compiler is there, or it refused the source; the message says which and what mends it."""


def found_compiler() -> str | None:
    """The compiler that a build takes unless another is named."""
    return next((name for name in COMPILERS if shutil.which(name)), None)


def sources(folder: Path = PLUGINS) -> list[Path]:
    """All files that the library is made of."""
    return [file for part in ("cpu", "onnxruntime") for file in sorted((folder / part).iterdir()) if file.is_file()]


def is_current(library: Path, folder: Path = PLUGINS) -> bool:
    """Whether the library is there and younger than its sources."""
    return library.is_file() and all(file.stat().st_mtime <= library.stat().st_mtime for file in sources(folder))


def build(
    output_dir: Path = LIBRARIES, *, folder: Path = PLUGINS, compiler: str | None = None, sanitize: bool = False
) -> Path:
    """Compile the library and return its path in `output_dir`.

    Args:
        output_dir: made if absent. The library takes its place there when it is whole.
        folder: plugins/, or a copy of its folders cpu and onnxruntime.
        compiler: g++, clang++ or a path; the first that is found if not given.
        sanitize: with AddressSanitizer and UndefinedBehaviorSanitizer; the loading process must preload libasan.

    Raises:
        BuildError: there is no compiler, or the source does not compile.
    """
    compiler = compiler or found_compiler()
    if compiler is None or shutil.which(compiler) is None:
        raise BuildError(f"no {compiler or ', '.join(COMPILERS)} was found\ntry: apt-get install g++")
    shared = [compiler, *FLAGS, *(SANITIZED if sanitize else PLAIN)]
    output_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output_dir, prefix=".hc_cpu_") as scratch:
        commands = []
        for name, flags in SETS.get(platform.machine(), {"serial": SERIAL}).items():
            source = [str(folder / "cpu" / ONE_SET), f"-DHC_SET={name}", *flags]
            commands.append([*shared, "-c", *source, "-o", f"{scratch}/{name}.o"])
        for part in OTHERS:
            commands.append([*shared, "-c", str(folder / part), "-o", f"{scratch}/{Path(part).stem}.o"])
        with ThreadPoolExecutor() as pool:
            list(pool.map(_run, commands))
        whole = Path(scratch, LIBRARY)
        objects = [command[-1] for command in commands]
        _run([*shared, "-shared", *objects, "-Wl,-z,defs" if not sanitize else "-Wl,--as-needed", "-o", str(whole)])
        whole.replace(output_dir / LIBRARY)
    return output_dir / LIBRARY


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise BuildError(f"{' '.join(command)}\n{done.stderr}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=LIBRARIES, metavar="DIR")
    parser.add_argument("--compiler", metavar="NAME")
    parser.add_argument("--sanitize", action="store_true", help="with the address and undefined-behaviour sanitizers")
    parser.add_argument("--if-there-is-a-compiler", action="store_true", help="say so and end well where none is")
    options = parser.parse_args()
    if options.if_there_is_a_compiler and not (options.compiler or found_compiler()):
        print("no C++ compiler: the ops run from their ONNX bodies, not natively (apt-get install g++; make native)")
        return 0
    if not options.sanitize and is_current(options.output / LIBRARY):
        return 0
    try:
        print(build(options.output, compiler=options.compiler, sanitize=options.sanitize))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
