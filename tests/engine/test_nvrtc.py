"""CUDA source -> PTX, with the NVRTC of the test environment's wheels; and what is said where that does not work."""

import re
from pathlib import Path

import pytest

from hc_deploy.engine import kernel_source, nvrtc
from hc_deploy.engine.kernel_source import Kernel, kernel_folder
from hc_deploy.errors import DeployError, MissingDependencyError

ROOT = Path(kernel_source.__file__).parents[2]


@pytest.fixture(scope="module")
def compiler():
    return nvrtc.Nvrtc()


def test_ptx_of_one_kernel(compiler):
    kernel = Kernel("decode", "f16")
    ptx = compiler.compile(kernel.source, architecture="compute_75", include=[kernel_folder()]).decode()
    assert re.findall(r"\.visible \.entry (\w+)", ptx) == [kernel.name] == ["hc_decode_f16"]
    assert "\0" not in ptx
    # A driver of CUDA 12.4 reads PTX up to 8.4, one of 13.0 up to 9.0.
    major, minor = compiler.version
    assert re.search(r"^\.version (.*)$", ptx, re.M)[1] == f"{major - 4}.{minor}"
    newer = compiler.compile(kernel.source, architecture="compute_90", include=[kernel_folder()])
    assert b".target sm_90\n" in newer


def test_bfloat16_is_converted_in_one_instruction(compiler):
    """Which the oldest architecture has not; TensorRT takes bfloat16 from the next one on only."""
    kernel = Kernel("decode", "bf16")
    assert kernel.architecture == "compute_80"
    old, own = (
        compiler.compile(kernel.source, architecture=architecture, include=[kernel_folder()])
        for architecture in ("compute_75", kernel.architecture)
    )
    assert b"cvt.rn.bf16.f32" not in old
    assert b"cvt.rn.bf16.f32" in own


def test_refused_source_gives_the_compiler_log(compiler):
    with pytest.raises(DeployError, match=r'NVRTC_ERROR_COMPILATION(.|\n)*kernel\.cu\(2\): error: .*"nowhere"'):
        compiler.compile("\n__global__ void f() { nowhere(); }")


def test_unknown_architecture(compiler):
    with pytest.raises(DeployError, match=r"for compute_20 (.|\n)*invalid value(.|\n)*try: pip install --upgrade"):
        compiler.compile("", architecture="compute_20")


def place(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()


CUDA_12 = ("cuda_nvrtc/lib/libnvrtc.so.12", "cuda_runtime/include/cuda_fp16.h")
CUDA_13 = ("cu13/lib/libnvrtc.so.13", "cu13/include/cuda_fp16.h")
TOOLKIT = ("lib64/libnvrtc.so.12", "include/cuda_fp16.h")


def test_the_older_cuda_is_taken_and_a_toolkit_last(tmp_path):
    nvidia, toolkit = tmp_path / "nvidia", tmp_path / "cuda"
    place(toolkit, "lib64/libnvrtc.so", "lib64/libnvrtc-builtins.so.12", *TOOLKIT)
    assert nvrtc.find_toolchain([nvidia], toolkit=toolkit).library == toolkit / TOOLKIT[0]
    place(nvidia, *CUDA_13)
    found = nvrtc.find_toolchain([nvidia], toolkit=toolkit)
    assert (found.library, found.include) == (nvidia / CUDA_13[0], nvidia / "cu13/include")
    place(nvidia, *CUDA_12)
    found = nvrtc.find_toolchain([nvidia], toolkit=toolkit)
    assert (found.library, found.include) == (nvidia / CUDA_12[0], nvidia / "cuda_runtime/include")


@pytest.mark.parametrize("half", [*CUDA_12, *CUDA_13])
def test_half_an_installation_is_named(tmp_path, half):
    place(tmp_path, half)
    with pytest.raises(MissingDependencyError, match=rf"found only {tmp_path / half}\n(.|\n)*try: pip install nvidia-"):
        nvrtc.find_toolchain([tmp_path], toolkit=tmp_path / "none")


def test_absent(tmp_path):
    with pytest.raises(MissingDependencyError, match=r"is not installed\n(.|\n)*try: pip install nvidia-"):
        nvrtc.find_toolchain([], toolkit=tmp_path)


def test_a_library_that_does_not_load(tmp_path):
    place(tmp_path, *CUDA_12)
    with pytest.raises(MissingDependencyError, match=r"libnvrtc\.so\.12 cannot be loaded"):
        nvrtc.Nvrtc(nvrtc.find_toolchain([tmp_path]))


@pytest.mark.parametrize("driver", [None, (12, 4), (12, 10), (13, 0)])
def test_driver_that_reads_the_ptx(driver):
    nvrtc.check_driver((12, 4), driver)


@pytest.mark.parametrize(
    ("compiler_version", "driver", "mend"),
    [
        ((12, 9), (12, 4), r'pip install "nvidia-cuda-nvrtc-cu12==12\.4\.\*" "nvidia-cuda-runtime-cu12==12\.4\.\*"'),
        ((13, 2), (13, 0), r'pip install "nvidia-cuda-nvrtc==13\.0\.\*" "nvidia-cuda-runtime==13\.0\.\*"'),
        ((12, 4), (11, 8), "a driver for CUDA 12 or newer"),
    ],
)
def test_driver_older_than_the_compiler(compiler_version, driver, mend):
    with pytest.raises(DeployError, match=rf"with a driver for CUDA {driver[0]}\.{driver[1]}\n(.|\n)*try: {mend}"):
        nvrtc.check_driver(compiler_version, driver)


def test_only_ops_with_an_embedding_have_a_fixed_one():
    with pytest.raises(ValueError, match="expected one of assign, upsample"):
        Kernel("decode", "f32", fixed_k=True)


def test_an_installation_without_kernels(tmp_path):
    with pytest.raises(DeployError, match=r"has no entries\.cuh(.|\n)*try: pip install"):
        kernel_folder([tmp_path])
