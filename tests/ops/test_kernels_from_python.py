"""The binding of launch.h and its place in hc_deploy.ops, with the kernels compiled for the CPU; no GPU is needed."""

import itertools
import re
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import pytest
import torch

from hc_deploy.doctor import Status
from hc_deploy.doctor import gpu as doctor
from hc_deploy.errors import DeployError
from hc_deploy.ops import ClusterOptions, assign, decode, hc_argmax, hc_assign, hc_decode, hc_upsample, upsample
from hc_deploy.ops import kernels as binding
from hc_deploy.ops.kernels import FUNCTIONS, TYPES, KernelLibrary
from tests import needs
from tests.ops import truths
from tests.plugins.emulated import kernels as emulated

HEADER = Path(__file__).parents[2] / "plugins" / "kernels" / "launch.h"
SIZES = [(1, 1), (7, 13), (10, 66), (17, 131)]
OPTIONS = [
    ClusterOptions(tau, similarity, border, assignment)
    for (tau, similarity), border, assignment in itertools.product(
        ((0.07, "cosine"), (8.0, "dot")), ("zero", "exclude"), ("soft", "hard")
    )
]
TOLERANCE = {torch.float32: 2e-5, torch.float16: 2**-11, torch.bfloat16: 2**-8}


@pytest.fixture(scope="module")
def library():
    return KernelLibrary(emulated().path, device_type="cpu")


@pytest.fixture
def in_use(library, monkeypatch):
    """hc_deploy.ops takes the CPU's tensors for the GPU's: it calls the library, and never the references."""
    monkeypatch.setattr(binding, "built_library", lambda device_type: library if device_type == "cpu" else None)
    return library


def maps(size, dtype, *, channels=64, classes=5, batch=2):
    """coarse, features, seeds."""
    generator = torch.Generator().manual_seed(size[0])
    half = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    shapes = [(batch, classes, *half), (batch, channels, *size), (batch, channels, *half)]
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def doubles(*tensors):
    return [tensor.double() for tensor in tensors]


def close(out, truth, dtype):
    assert out.dtype == dtype and out.is_contiguous()
    torch.testing.assert_close(out.double(), truth, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [64, 5])
def test_every_function_against_float64(library, size, dtype, channels):
    coarse, features, seeds = maps(size, dtype, channels=channels)
    options = ClusterOptions()
    weights = library.assign(features, seeds)
    close(weights, assign.reference(*doubles(features, seeds), options), dtype)
    close(library.decode(coarse, weights), decode.reference(*doubles(coarse, weights)), dtype)
    truth = upsample.reference(*doubles(coarse, features, seeds), options)
    close(library.upsample(coarse, features, seeds), truth, dtype)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_attribute_reaches_the_kernel(library, options):
    """Against the loop over pixels."""
    coarse, features, seeds = maps((7, 10), torch.float32)
    weights = truths.loop_assign(*(tensor.numpy() for tensor in doubles(features, seeds)), options)
    np.testing.assert_allclose(library.assign(features, seeds, options).numpy(), weights, atol=2e-5)
    decoded = truths.loop_decode(coarse.double().numpy(), weights)
    np.testing.assert_allclose(library.upsample(coarse, features, seeds, options).numpy(), decoded, atol=1e-4)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("size", [(53, 101), (7, 13), (3, 5)])
def test_argmax_is_its_definition(library, size, dtype):
    logits = torch.randn(2, 5, 7, 13, generator=torch.Generator().manual_seed(1)).to(dtype)
    labels = library.argmax(logits, size)
    assert labels.dtype == torch.int32
    np.testing.assert_array_equal(labels.numpy(), truths.loop_argmax(logits.double().numpy(), size))


def test_views_are_read_as_what_they_show(library):
    coarse, features, seeds = maps((10, 66), torch.float16)
    truth = library.upsample(coarse, features, seeds)
    channels_last = features.contiguous(memory_format=torch.channels_last)
    strided = torch.stack([seeds, seeds + 1], dim=-1)[..., 0]
    assert not channels_last.is_contiguous() and not strided.is_contiguous()
    assert torch.equal(library.upsample(coarse, channels_last, strided), truth)
    shifted = torch.cat([features.flatten()[:1], features.flatten()])[1:].view(features.shape)
    assert torch.equal(library.upsample(coarse, shifted, seeds), truth)


def test_signatures_are_those_of_the_header():
    """Counted in launch.h: pointers, integers, options."""
    declared = re.findall(r"HC_API int (hc_\w+)\(([^)]*)\);", HEADER.read_text())
    counted = {}
    for name, text in declared:
        kinds = [" ".join(argument.split()[:-1]) for argument in text.replace("*", "* ").split(",")]
        pointers = sum(kind.endswith("*") for kind in kinds) - 1  # the stream
        counted[name] = (pointers, kinds.count("int"), "struct hc_cluster_options" in kinds)
    assert counted == FUNCTIONS


@pytest.mark.parametrize("dtype", [torch.float64, torch.int32])
def test_other_types_are_refused(library, dtype):
    with pytest.raises(ValueError, match=r"float32, torch.float16, torch.bfloat16 on one cpu device"):
        library.assign(*(tensor.to(dtype) for tensor in maps((4, 6), torch.float32)[1:]))


def test_tensors_that_do_not_fit_are_refused(library):
    coarse, features, seeds = maps((8, 8), torch.float32)
    with pytest.raises(ValueError, match=r"float16 on cpu, torch.float32 on cpu"):
        library.upsample(coarse.half(), features, seeds)
    with pytest.raises(ValueError, match="meta"):
        library.assign(features, seeds.to("meta"))
    with pytest.raises(ValueError, match="features have 64 channels and seeds 1"):
        library.assign(features, seeds[:, :1])
    with pytest.raises(ValueError, match=r"expected \(2, 4, 4\)"):
        library.upsample(coarse[:, :, :3], features, seeds)
    with pytest.raises(ValueError, match="8 candidates"):
        library.decode(coarse, torch.zeros(2, 8, 8, 8))
    with pytest.raises(ValueError, match=r"\[B,C,h,w\]"):
        library.argmax(coarse[0], (8, 8))
    with pytest.raises(ValueError, match="at most 2147483647"):
        library.argmax(coarse[:0], (2**31, 1))


def test_what_the_launcher_refuses_is_a_message(library):
    features, seeds = maps((4, 6), torch.float32)[1:]
    with pytest.raises(
        DeployError, match=r"(?s)hc_assign on \(0, 64, 4, 6\).*invalid argument \(error 1\).*make plugin"
    ):
        library.assign(features[:0], seeds[:0])
    with pytest.raises(DeployError, match=r"tau=1e-50.*invalid argument"):
        library.assign(features, seeds, ClusterOptions(tau=1e-50))


def test_libraries_that_are_none(tmp_path):
    (tmp_path / "text.so").write_text("no library")
    for path in (tmp_path / "absent.so", tmp_path / "text.so", Path(find_library("m") or "libm.so.6")):
        with pytest.raises(DeployError, match=r"(?s)cannot be loaded.*make plugin"):
            KernelLibrary(path)


def test_ops_call_the_kernels(in_use, monkeypatch):
    coarse, features, seeds = maps((7, 13), torch.float16)
    o = ClusterOptions(0.3, "dot", "exclude", "hard")
    keywords = {"tau": o.tau, "similarity": o.similarity, "border": o.border, "assignment": o.assignment}
    weights = in_use.assign(features, seeds, o)
    for module in (assign, decode, upsample):
        monkeypatch.setattr(module, "reference", None)
    monkeypatch.setattr("hc_deploy.ops.argmax.reference", None)
    assert torch.equal(hc_assign(features, seeds, **keywords), weights)
    assert torch.equal(hc_decode(coarse, weights), in_use.decode(coarse, weights))
    assert torch.equal(hc_upsample(coarse, features, seeds, **keywords), in_use.upsample(coarse, features, seeds, o))
    assert torch.equal(hc_argmax(coarse, (31, 37)), in_use.argmax(coarse, (31, 37)))


def test_gradients_are_those_of_the_reference(in_use, monkeypatch):
    """The kernel goes forward, the reference backward."""
    tensors = [tensor.requires_grad_() for tensor in maps((7, 13), torch.float32)]
    grads = torch.autograd.grad(hc_upsample(*tensors).square().sum(), tensors)
    monkeypatch.setattr(binding, "built_library", lambda device_type: None)
    truth = torch.autograd.grad(hc_upsample(*tensors).square().sum(), tensors)
    for grad, expected in zip(grads, truth, strict=True):
        assert not torch.equal(expected, torch.zeros_like(expected))
        torch.testing.assert_close(grad, expected, atol=2e-4, rtol=1e-4)


def test_torch_op_contracts_hold_with_the_kernels(in_use):
    coarse, features, seeds = maps((6, 9), torch.float32)
    ops, attributes = torch.ops.hc_deploy, (0.07, "cosine", "zero", "soft")
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(ops.hc_upsample.default, (coarse, features, seeds, *attributes), test_utils=tests)
    torch.library.opcheck(ops.hc_argmax.default, (coarse, features), test_utils=tests)


def test_what_the_kernels_do_not_take_goes_through_the_reference(in_use, monkeypatch):
    monkeypatch.setattr(KernelLibrary, "_launch", None)
    coarse, features, seeds = maps((7, 13), torch.float32)
    o = ClusterOptions()
    wide = doubles(coarse, features, seeds)
    assert torch.equal(hc_upsample(*wide), upsample.reference(*wide, o))
    mixed = (coarse.half(), features, seeds.bfloat16())
    assert torch.equal(hc_upsample(*mixed), upsample.reference(*mixed, o))
    assert hc_assign(features[:0], seeds[:0]).shape == (0, 9, 7, 13)
    with pytest.raises(ValueError, match="expected the same"):
        hc_assign(features, seeds[:, :1])


def test_only_cuda_tensors_use_what_was_built(monkeypatch, tmp_path):
    monkeypatch.setattr(binding, "LIBRARY", emulated().path)
    find = binding.built_library.__wrapped__
    assert find("cpu") is None and find("cuda").path == emulated().path
    monkeypatch.setattr(binding, "LIBRARY", tmp_path / "absent.so")
    assert find("cuda") is None
    (tmp_path / "broken.so").write_text("no library")
    monkeypatch.setattr(binding, "LIBRARY", tmp_path / "broken.so")
    with pytest.raises(DeployError, match="cannot be loaded"):
        find("cuda")


def test_doctor_says_which_kernels_torch_uses(monkeypatch, tmp_path):
    monkeypatch.setattr(binding, "LIBRARY", emulated().path)
    assert doctor.kernels().status is Status.WORKS
    monkeypatch.setattr(binding, "LIBRARY", tmp_path / "absent.so")
    finding = doctor.kernels()
    assert finding.status is Status.MISSING and finding.mend == "make plugin" and "reference" in finding.detail
    (tmp_path / "broken.so").write_text("no library")
    monkeypatch.setattr(binding, "LIBRARY", tmp_path / "broken.so")
    assert doctor.kernels().status is Status.BROKEN


@pytest.fixture
def gpu():
    if not torch.cuda.is_available():
        pytest.skip(needs.GPU)
    if not binding.LIBRARY.is_file():
        pytest.skip("hc_deploy/lib/libhc_kernels.so is not built: make plugin")
    return torch.device("cuda")


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_ops_on_a_gpu(gpu, dtype):
    """The custom ops on CUDA tensors, on a stream of their own, forward and backward."""
    tensors = [tensor.to(gpu).requires_grad_() for tensor in maps((37, 131), dtype)]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        out = hc_upsample(*tensors)
    torch.cuda.current_stream().wait_stream(stream)
    truth = upsample.reference(*doubles(*tensors), ClusterOptions())
    close(out.detach(), truth.detach(), dtype)
    grads = torch.autograd.grad(out.float().sum(), tensors)
    assert all(torch.isfinite(grad).all() for grad in grads)
    assert torch.equal(out, binding.built_library("cuda").upsample(*tensors))
