"""The scripts behind docs/benchmarks and docs/models.md: counts against figures known otherwise, and a dry run."""

import numpy as np
import pytest

from benchmarks import arithmetic, cpu_kernels, engines, onnx_bodies
from hc_deploy.errors import UsageError
from tests.plugins.cpu import library


def test_counts():
    """The paper's networks: 4074 and 734 GFLOP are known from an independent count; FCN's by hand at one layer."""
    pspnet = arithmetic.count("pspnet_resnet101", arithmetic.SIZE)
    hcpspnet = arithmetic.count("hcpspnet_resnet101", arithmetic.SIZE)
    assert pspnet.operations / 1e9 == pytest.approx(4074, rel=1e-3)
    assert hcpspnet.operations / 1e9 == pytest.approx(734, rel=1e-3)
    assert pspnet.written > hcpspnet.written > 4 * 64 * 512 * 1024


def test_upsample_is_counted():
    """Level 1 over level 0: one HCUpsample (9 (K + C) multiply-adds a pixel) and its two embeddings."""
    size = (256, 512)
    levels = [arithmetic.count("hcfcn32_resnet18", size, level=level).operations for level in (0, 1)]
    fine, coarse = 16 * 32, 8 * 16
    expected = 2 * fine * 9 * (64 + 19) + 2 * fine * 256 * 64 + 2 * coarse * 512 * 64
    assert levels[1] - levels[0] == expected


def test_bodies_dry_run():
    runs = onnx_bodies.op_runs((8, 12), threads=1)
    runs["HCFCN-32 ResNet-18, level 2"] = next(iter(runs.values()))
    samples = onnx_bodies.interleaved(runs, rounds=4, warmup=1)
    assert {len(values) for values in samples.values()} == {4} and np.min(list(samples.values())) > 0
    assert all(f"{op} 8x12" in onnx_bodies.table(samples) for op in ("HCAssign", "HCDecode", "HCUpsample", "HCArgmax"))


def test_native_ops_dry_run():
    library()
    cases, sets = cpu_kernels.op_cases((8, 12), threads=1), cpu_kernels.instruction_sets()
    samples = cpu_kernels.interleaved(cases, dict.fromkeys(cases, sets), rounds=3, warmup=1)
    assert all(list(kinds) == ["bodies", *sets] for kinds in samples.values())
    assert {len(values) for kinds in samples.values() for values in kinds.values()} == {3}
    assert all(f"| {op} 8x12 | bodies |" in cpu_kernels.table(samples) for op in ("HCAssign", "HCArgmax"))


def test_engines_of_a_network_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="--only nope") as caught:
        engines.main(tmp_path, only=["fcn32", "nope"])
    assert "hcpspnet, DCNv2" in caught.value.expected and list(tmp_path.iterdir()) == []
