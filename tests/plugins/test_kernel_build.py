"""nvcc compiles every kernel for every target, and none of the fast ones spills registers; a table is printed.

One run of nvcc a target, two at a time: 80 s of CPU in all for eight. Nothing is linked and no GPU is needed.
"""

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from plugins.emulator.build import LAUNCHERS
from tests import needs

TARGETS = [75, 80, 86, 87, 89, 90, 100, 120]
TYPES = ("f32", "f16", "bf16")
FAST = [f"hc_{op}_{type_}{suffix}" for op, suffix in
        (("assign", "_k64"), ("assign", "_k64_split"), ("upsample", "_k64"), ("upsample", "_k64_split"), ("decode", ""),
         ("decode", "_split"), ("argmax", "")) for type_ in TYPES]  # fmt: skip
GENERAL = [f"hc_{op}_{type_}" for op in ("assign", "upsample") for type_ in TYPES]
REPORT = re.compile(
    r"Compiling entry function '(\w+)' for 'sm_(\d+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads"
    r".*?Used (\d+) registers",
    re.DOTALL,
)


@dataclass(frozen=True)
class Usage:
    registers: int
    spilled_bytes: int

    def __str__(self) -> str:
        return f"{self.registers}" + (f"+{self.spilled_bytes}B" if self.spilled_bytes else "")


def compiled(nvcc: str, target: int, folder: Path) -> dict[str, Usage]:
    """Registers and spills of each kernel, as ptxas tells them."""
    command = [nvcc, "-std=c++17", "-cubin", f"-arch=sm_{target}", "-Xptxas", "-v", str(LAUNCHERS)]
    done = subprocess.run([*command, "-o", str(folder / f"{target}.cubin")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = REPORT.findall(done.stderr)
    assert {int(built) for _, built, *_ in found} == {target}
    return {name: Usage(int(registers), int(stores) + int(loads)) for name, _, stores, loads, registers in found}


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    """Target -> what `compiled` gives, for those that this nvcc knows."""
    nvcc = needs.nvcc()
    known = subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True, check=True).stdout.split()
    targets = [target for target in TARGETS if f"sm_{target}" in known]
    folder = tmp_path_factory.mktemp("cubins")
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(targets, pool.map(lambda target: compiled(nvcc, target, folder), targets), strict=True))


@pytest.mark.parametrize("target", TARGETS)
def test_kernels_compile_without_spills(builds, target):
    if target not in builds:
        pytest.skip(f"this nvcc does not know sm_{target}")
    assert set(builds[target]) == {*FAST, *GENERAL}
    assert {name: str(builds[target][name]) for name in FAST if builds[target][name].spilled_bytes} == {}


def test_blocks_fit_the_registers(builds, capsys):
    """As many blocks an SM of 65536 registers as entries.cuh asks for; the table shows what is left."""
    lines = [f"\nregisters a thread (+ spilled bytes){'':9}" + "".join(f"{f'sm_{target}':>9}" for target in builds)]
    lines += [
        f"  {name:<43}" + "".join(f"{usage[name]!s:>9}" for usage in builds.values()) for name in (*FAST, *GENERAL)
    ]
    with capsys.disabled():
        print("\n".join(lines))
    for usage in builds.values():
        for name, used in usage.items():
            threads = 256 if "argmax" in name else 128
            if name.endswith("_split"):
                threads, blocks = (256 if "_f32" in name else 512), 1
            else:
                blocks = 3 if name in GENERAL or name.endswith("f32_k64") else 4
            assert used.registers * threads * blocks <= 65536, name
