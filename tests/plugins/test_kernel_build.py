"""nvcc compiles every kernel for every target, and none of the fast ones spills registers; no GPU is needed."""

import re
from collections import defaultdict
from dataclasses import dataclass

import pytest

from tests.plugins.built import COMPILED

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


@pytest.fixture(scope="module")
def builds(make_plugin):
    """Target -> kernel -> its registers and spills, as ptxas told them."""
    found = defaultdict(dict)
    for name, target, stores, loads, registers in REPORT.findall(COMPILED.read_text()):
        found[int(target)][name] = Usage(int(registers), int(stores) + int(loads))
    return found


@pytest.mark.parametrize("target", TARGETS)
def test_kernels_compile_without_spills(builds, target):
    assert set(builds[target]) == {*FAST, *GENERAL}
    assert {name: str(builds[target][name]) for name in FAST if builds[target][name].spilled_bytes} == {}


def test_blocks_fit_the_registers(builds):
    """As many blocks an SM of 65536 registers as entries.cuh asks for."""
    assert set(builds) == set(TARGETS)
    for usage in builds.values():
        for name, used in usage.items():
            threads = 256 if "argmax" in name else 128
            if name.endswith("_split"):
                threads, blocks = (256 if "_f32" in name else 512), 1
            else:
                blocks = 3 if name in GENERAL or name.endswith("f32_k64") else 4
            assert used.registers * threads * blocks <= 65536, name
