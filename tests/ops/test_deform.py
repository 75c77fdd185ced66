"""The modulated deformable convolution against a float64 loop and ONNX Runtime's own DeformConv."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from hc_deploy.ops import deform_conv, deform_conv_sampled
from hc_deploy.runtime.onnxruntime import import_onnxruntime

SIZES = [(9, 13), (6, 8), (5, 1), (1, 1)]


def fields(size, *, stride=2, channels=3, seed=0):
    """x, offset, mask, weight in float64; offsets of up to several pixels, many outside the map."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    h, w = (height - 1) // stride + 1, (width - 1) // stride + 1
    make = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return make(2, channels, *size), 1.5 * make(2, 18, h, w), torch.sigmoid(make(2, 9, h, w)), make(4, channels, 3, 3)


def loop(x, offset, mask, weight, stride):
    """By the definition, a sample at a time."""
    batch, channels, height, width = x.shape
    out = np.zeros((batch, weight.shape[0], *offset.shape[2:]))

    def pixel(b, y, z):
        return x[b, :, y, z] if 0 <= y < height and 0 <= z < width else np.zeros(channels)

    for b, i, j in np.ndindex(batch, *offset.shape[2:]):
        for n in range(9):
            y = i * stride - 1 + n // 3 + offset[b, 2 * n, i, j]
            z = j * stride - 1 + n % 3 + offset[b, 2 * n + 1, i, j]
            top, left = int(np.floor(y)), int(np.floor(z))
            dy, dz = y - top, z - left
            sample = (
                (1 - dy) * (1 - dz) * pixel(b, top, left)
                + (1 - dy) * dz * pixel(b, top, left + 1)
                + dy * (1 - dz) * pixel(b, top + 1, left)
                + dy * dz * pixel(b, top + 1, left + 1)
            )
            out[b, :, i, j] += mask[b, n, i, j] * (weight[:, :, n // 3, n % 3] @ sample)
    return out


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("convolve", [deform_conv, deform_conv_sampled])
def test_is_its_definition(size, stride, convolve):
    given = fields(size, stride=stride)
    truth = loop(*(tensor.numpy() for tensor in given), stride)
    np.testing.assert_allclose(convolve(*given, stride).numpy(), truth, atol=1e-10)


@pytest.mark.parametrize("size", SIZES)
def test_onnx_runtimes_operator_agrees(size):
    x, offset, mask, weight = (tensor.float() for tensor in fields(size))
    node = helper.make_node(
        "DeformConv", ["x", "w", "o", "", "m"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1], kernel_shape=[3, 3]
    )
    entries = {"x": x, "w": weight, "o": offset, "m": mask}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in entries.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 4, *offset.shape[2:]))
    graph = helper.make_graph([node], "g", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    session = import_onnxruntime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = session.run(None, {name: value.numpy() for name, value in entries.items()})[0]
    np.testing.assert_allclose(given, deform_conv_sampled(x, offset, mask, weight, 2).numpy(), atol=2e-5)


def test_gradients():
    given = [tensor.requires_grad_() for tensor in fields((5, 4), channels=2)]
    assert torch.autograd.gradcheck(lambda *maps: deform_conv(*maps, 2), given)


def test_torch_op_contract():
    given = [tensor.float().requires_grad_() for tensor in fields((9, 13))]
    torch.library.opcheck(torch.ops.hc_deploy.deform_conv.default, (*given, 2))
