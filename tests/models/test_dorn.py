"""DORN and HCDORN: ordinal regression against loops, the release's layers, the contract of every network."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hc_deploy.errors import UsageError
from hc_deploy.export.checkpoint import CheckpointInfo, load_state, read_checkpoint, save_checkpoint
from hc_deploy.export.onnx import export_onnx, save_onnx
from hc_deploy.export.untouched import Untouched
from hc_deploy.ops import hc_upsample
from hc_deploy.parity.exposed import OnnxUnderTest
from hc_deploy.parity.fidelity import measure_fidelity
from hc_deploy.parity.images import parity_images
from hc_deploy.runtime import open_session
from hc_deploy.spec import ModelSpec
from models.dorn import DORN, FullImageEncoder, SceneUnderstanding, dorn, hcdorn
from models.ordinal import SpacingIncreasing, ordinal_loss, pair_differences
from models.resnet import ResNet
from tests.models.small import image, unsettle

BUILDERS = [dorn, hcdorn]
SMALL = {"backbone": "resnet18", "width": 8, "intervals": 12}
SIZES = [(65, 97), (97, 70), (33, 20), (2, 3), (1, 1)]


def made(builder, **options):
    """A small network whose scores fall with k, as trained ones do, so that depths differ over the image."""
    torch.manual_seed(0)
    net = builder(**{**SMALL, **options})
    unsettle(net)
    bias = net.ordinal.classify.bias.data
    bias[1::2] = torch.linspace(2, -2, len(bias) // 2)
    return net.eval()


@pytest.mark.parametrize(("intervals", "low", "high"), [(68, 0.7, 10.0), (80, 0.0, 80.0), (7, 2.5, 40.0)])
def test_thresholds_are_eq_1(intervals, low, high):
    sid = SpacingIncreasing(intervals, low, high)
    xi = 1.0 - low
    alpha, beta = low + xi, high + xi
    truth = [math.exp(math.log(alpha) + math.log(beta / alpha) * i / intervals) for i in range(intervals + 1)]
    np.testing.assert_allclose(sid.thresholds.numpy(), truth, rtol=1e-6)
    centres = [(truth[i] + truth[i + 1]) / 2 - xi for i in range(intervals)]
    np.testing.assert_allclose(sid.depth(torch.arange(intervals + 1)), [*centres, centres[-1]], rtol=1e-5)
    widths = np.diff(sid.thresholds.double().numpy())
    assert (np.diff(widths) > 0).all(), "the intervals widen with depth"


def test_labels_by_loop():
    sid = SpacingIncreasing(68, 0.7, 10.0)
    metres = torch.linspace(0.05, 12.0, 977).reshape(1, 977)
    for depth, label in zip(metres[0].tolist(), sid.label(metres)[0].tolist(), strict=True):
        inside = [i for i in range(68) if sid.thresholds[i] <= np.float32(depth + 0.3) < sid.thresholds[i + 1]]
        assert label == (inside[0] if inside else (0 if depth < 5 else 67))
    unshifted = SpacingIncreasing(68, 1.0, 10.0)
    assert torch.equal(unshifted.label(unshifted.thresholds[:-1]), torch.arange(68)), "a threshold starts its interval"
    centres = sid.depth(torch.arange(68))
    assert torch.equal(sid.label(centres), torch.arange(68)), "a depth's own interval"


def test_no_precision_is_lost_by_discretisation():
    """Half an interval at most: 1.8% of (depth + 0.3) for 68 intervals."""
    sid = SpacingIncreasing(68, 0.7, 10.0)
    metres = torch.linspace(0.7, 9.99, 500)
    assert ((sid.depth(sid.label(metres)) - metres).abs() / (metres + 0.3)).max() < 0.018


def loss_by_loop(logits, depth, sid):
    """Eq. 2 and 3 of DORN, pixel by pixel, of one image at one resolution."""
    terms = []
    for y, x in np.ndindex(depth.shape):
        if depth[y, x] > 0:
            label = int(sid.label(torch.tensor([depth[y, x]])))
            psi = 0.0
            for k in range(sid.intervals):
                low, high = math.exp(logits[2 * k, y, x]), math.exp(logits[2 * k + 1, y, x])
                psi += math.log(high / (low + high)) if k < label else math.log(1 - high / (low + high))
            terms.append(psi)
    return -sum(terms) / len(terms)


def test_ordinal_loss_is_its_definition():
    sid = SpacingIncreasing(9, 0.7, 10.0)
    rng = np.random.default_rng(0)
    logits, depth = rng.normal(0, 2, (18, 5, 7)), rng.uniform(0.5, 11, (5, 7))
    depth[rng.random((5, 7)) < 0.3] = 0.0
    given = ordinal_loss(torch.from_numpy(logits)[None], torch.from_numpy(depth)[None], sid)
    assert given.item() == pytest.approx(loss_by_loop(logits, depth, sid))
    assert ordinal_loss(torch.from_numpy(logits)[None], torch.zeros(1, 5, 7), sid) == 0


def test_ordinal_loss_enlarges_the_logits():
    sid = SpacingIncreasing(4, 0.7, 10.0)
    logits, depth = torch.randn(2, 8, 5, 7), torch.rand(2, 19, 26) * 9 + 0.7
    enlarged = F.interpolate(logits, size=(19, 26), mode="bilinear")
    torch.testing.assert_close(ordinal_loss(logits, depth, sid), ordinal_loss(enlarged, depth, sid))


def test_the_loss_finds_the_depth():
    """Logits that minimise the loss decode to the depth they were trained on."""
    sid = SpacingIncreasing(12, 0.7, 10.0)
    depth = torch.rand(1, 6, 8, generator=torch.Generator().manual_seed(0)) * 9 + 0.8
    logits = torch.zeros(1, 24, 6, 8, requires_grad=True)
    optimiser = torch.optim.SGD([logits], lr=50.0)
    for _ in range(20):
        optimiser.zero_grad()
        ordinal_loss(logits, depth, sid).backward()
        optimiser.step()
    assert torch.equal((pair_differences(logits, 1) >= 0).sum(1), sid.label(depth))


@pytest.mark.parametrize("builder", BUILDERS)
def test_depth_is_the_releases_decision(builder):
    """Softmax of each pair of the enlarged logits, count of P(l > k) >= 0.5, mean of two thresholds (Eq. 3 to 5)."""
    net = made(builder)
    with torch.no_grad():
        logits = F.interpolate(net(image(batch=2)).double(), size=(65, 97), mode="bilinear")
        probability = logits.unflatten(1, (12, 2)).softmax(2)[:, :, 1]
        labels = (probability >= 0.5).sum(1).clamp(max=11)
        given = net.depth(image(batch=2))
    thresholds = net.sid.thresholds
    expected = (thresholds[labels] + thresholds[labels + 1]) / 2 - 0.3
    undecided = ((probability - 0.5).abs() < 1e-5).any(1)
    assert undecided.float().mean() < 0.01 and len(labels.unique()) > 2
    assert given.dtype == torch.float32 and given.shape == (2, 65, 97)
    torch.testing.assert_close(given[~undecided], expected[~undecided])


def test_hcdorn_decodes_the_feature_map():
    """forward and margins both equal the paper's order: decode the N channels by Eq. 3, then classify."""
    net = made(hcdorn, level=3)
    maps, clusters = net.clustering(net.backbone, image())
    features = net.scene(maps[-1])
    assert features.shape[1] == net.backbone.channels[-1] and len(clusters) == 3
    for cluster in clusters:
        features = hc_upsample(features, cluster.features, cluster.seeds)
    logits = net.ordinal.classify(features)
    torch.testing.assert_close(net(image()), logits)
    margins = logits[:, 1::2] - logits[:, 0::2]
    torch.testing.assert_close(net.margins(image()), margins, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(made(dorn).margins(image()), pair_differences(made(dorn)(image()), 1))


@pytest.mark.parametrize("level", range(5))
def test_levels(level):
    net = made(hcdorn, level=level)
    assert net.level == level
    assert net(image()).shape == (1, 24, *(-(-side // 2 ** (5 - level)) for side in (65, 97)))
    assert dorn(**SMALL).eval()(image()).shape == (1, 24, 9, 13)


def test_twin_shares_the_weights():
    plain, twin = dorn(**SMALL), hcdorn(**SMALL)
    added = set(twin.state_dict()) - set(plain.state_dict())
    assert set(plain.state_dict()) <= set(twin.state_dict())
    assert {key.split(".")[1] for key in added} == {"conv5_x", "conv4_x"}


def test_scene_understanding_by_hand():
    """The release's layers in functional code: every branch a convolution, a 1x1 convolution and two ReLUs."""
    torch.manual_seed(0)
    scene = SceneUnderstanding(16).eval()
    x = torch.randn(2, 16, 23, 31)
    state = scene.state_dict()

    def conv(x, key, dilation=1):
        weight = state[f"{key}.weight"]
        padding = dilation * (weight.shape[2] // 2)
        return F.conv2d(x, weight, state[f"{key}.bias"], padding=padding, dilation=dilation).relu()

    pooled = F.adaptive_avg_pool2d(x, (5, 6)).flatten(1)
    code = F.linear(pooled, state["full_image.connect.weight"], state["full_image.connect.bias"]).relu()
    code = conv(code[:, :, None, None], "full_image.conv")
    branches = [code.expand(2, 4, 23, 31), conv(conv(x, "cross_channel.0"), "cross_channel.2")]
    for i, dilation in enumerate((6, 12, 18)):
        branches.append(conv(conv(x, f"aspp.{i}.0", dilation), f"aspp.{i}.2"))
    torch.testing.assert_close(scene(x), conv(torch.cat(branches, 1), "fuse"))


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (9, 12), (33, 45)])
def test_full_image_encoder_takes_any_size(size):
    encoder = FullImageEncoder(8, 4).eval()
    given = encoder(torch.randn(2, 8, *size))
    assert given.shape == (2, 4, *size)
    torch.testing.assert_close(given, given[:, :, :1, :1].expand(2, 4, *size))


def test_parameter_counts():
    """Layers of the authors' NYU release (deploy.prototxt) on torchvision's ResNet-101: 110 million in all.

    Its stem of three 3x3 convolutions is the one difference: here the 7x7 of He et al.
    """
    resnet = 44_549_160 - 2_049_000
    full_image = (5 * 6 * 2048) * 512 + 512 + 512 * 512 + 512
    cross_channel = 2048 * 512 + 512 + 512 * 512 + 512
    atrous = 9 * 2048 * 512 + 512 + 512 * 512 + 512
    regression = 2560 * 2048 + 2048 + 2048 * 136 + 136
    expected = resnet + full_image + cross_channel + 3 * atrous + regression
    assert expected == 110_157_000
    with torch.device("meta"):
        plain = DORN(ResNet("resnet101", output_stride=8), SpacingIncreasing(68, 0.7, 10.0))
    assert sum(p.numel() for p in plain.parameters()) == expected
    small, twin = (sum(p.numel() for p in builder(**SMALL).parameters()) for builder in BUILDERS)
    assert twin - small == 64 * (16 + 32 + 32 + 64), "W and W~ of conv4_x and conv5_x (K = 64)"


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("size", SIZES)
def test_any_size_and_batch(builder, size):
    net = made(builder)
    with torch.no_grad():
        three = net.depth(image(*size, batch=3))
        one = net.depth(image(*size, batch=3)[1:2])
    assert three.shape == (3, *size) and three.dtype == torch.float32
    assert three.min() > 0.7 and three.max() < 10.0
    assert (one[0] == three[1]).float().mean() > 0.99


@pytest.mark.parametrize("builder", BUILDERS)
def test_gradient_reaches_every_parameter(builder):
    net = made(builder).train()
    depth = torch.rand(2, 97, 131, generator=torch.Generator().manual_seed(0)) * 9 + 0.7
    ordinal_loss(net(image(97, 131, batch=2)), depth, net.sid).backward()
    without = [key for key, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize("builder", BUILDERS)
def test_save_and_load(builder, tmp_path):
    net, other = made(builder), builder(**SMALL)
    save_checkpoint(tmp_path / "net.safetensors", net, CheckpointInfo(arch=builder.__name__, options=SMALL))
    load_state(other, read_checkpoint(tmp_path / "net.safetensors"), arch=builder.__name__)
    assert torch.equal(other.eval().depth(image()), net.depth(image()))
    assert not [key for key in net.state_dict() if key.startswith("sid")], "thresholds follow from the options"


class Scores(torch.nn.Module):
    """The enlarged margins that `depth` decides upon, averaged with weights of their own: nothing is rounded."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def depth(self, x):
        margins = F.interpolate(self.net.margins(x), size=x.shape[2:], mode="bilinear", align_corners=False)
        return (margins * torch.linspace(0.5, 1.5, margins.shape[1]).reshape(1, -1, 1, 1)).mean(1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """exported(builder, static, what) -> network, model, path; each made once."""
    models = {}

    def export(builder, static, what=lambda net: net):
        key = builder, static, what
        if key not in models:
            net = what(made(builder))
            spec = ModelSpec(arch=builder.__name__, classes=(), palette=(), task="depth", outputs=("depth",))
            if static:
                spec = replace(spec, batch=1, height=65, width=97)
            model = export_onnx(net, spec)
            path = tmp_path_factory.mktemp("dorn") / "model.onnx"
            save_onnx(model, path)
            models[key] = net, model, path
        return models[key]

    return export


def sessions(net, model, path):
    return Untouched(net, model.spec), OnnxUnderTest(model.proto, model.spec, path, open_session)


@pytest.mark.parametrize("builder", BUILDERS)
def test_scores_have_parity_with_onnx_runtime(builder, exported):
    net, model, path = exported(builder, True, Scores)
    reference, candidate = sessions(net, model, path)
    with candidate:
        fidelity = measure_fidelity(reference, candidate, parity_images(model.spec, size=(65, 97)))
    assert fidelity.failures() == [] and fidelity.images == 3
    assert fidelity.depth_agreement == 1.0


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize(
    ("static", "size"),
    [(True, (65, 97)), (False, (65, 97)), (False, (1, 1)), (False, (2, 3)), (False, (31, 33)), (False, (98, 131))],
)
def test_depths_have_parity_with_onnx_runtime(builder, static, size, exported):
    """A margin that rounds to the other side of zero moves a pixel by one interval: so few pixels, so little."""
    net, model, path = exported(builder, static)
    reference, candidate = sessions(net, model, path)
    with candidate:
        for picture in parity_images(model.spec, size=size):
            truth, given = reference.run(picture)["depth"], candidate.run(picture)["depth"]
            assert given.shape == truth.shape and given.dtype == np.float32
            assert (truth != given).mean() <= 0.001
            step = np.abs(np.searchsorted(net.sid.centres, truth) - np.searchsorted(net.sid.centres, given))
            assert step.max() <= 1


@pytest.mark.parametrize("builder", BUILDERS)
def test_depths_vary(builder, exported):
    """What the parity tests compare is no constant."""
    net, model, _ = exported(builder, True)
    picture = next(parity_images(model.spec, size=(65, 97)))
    depth = Untouched(net, model.spec).run(picture)["depth"]
    assert len(np.unique(depth)) >= 3


@pytest.mark.parametrize("builder", BUILDERS)
def test_operators_that_tensorrt_has(builder, exported):
    refused = {"Unique", "Col2Im", "CenterCropPad", "Compress", "NonZero", "Loop", "If", "SequenceConstruct"}
    for static in (True, False):
        proto = exported(builder, static)[1].proto
        used = {node.op_type for node in proto.graph.node} | {n.op_type for f in proto.functions for n in f.node}
        assert not used & refused and "Resize" in used
        assert [n.op_type for n in proto.graph.node].count("HCUpsample") == (2 if builder is hcdorn else 0)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"intervals": 1}, "2 to 4096"),
        ({"intervals": 2.0}, "2 to 4096"),
        ({"depth_min": -1.0}, "0 <= depth_min < depth_max"),
        ({"depth_max": 0.5}, "0 <= depth_min < depth_max"),
        ({"depth_max": float("nan")}, "0 <= depth_min < depth_max"),
        ({"backbone": "resnet19"}, "resnet18, resnet50, resnet101"),
        ({"width": 0}, "1 to 4096"),
    ],
)
@pytest.mark.parametrize("builder", BUILDERS)
def test_bad_options_name_the_legal_ones(builder, options, named):
    with pytest.raises(UsageError, match=named):
        builder(**{**SMALL, **options})


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"level": 5}, "0, 1, 2, 3, 4"),
        ({"branch": "main"}, "identity, residual, block"),
        ({"dim": 0}, "1 to 4096"),
        ({"tau": -1.0}, "positive"),
        ({"similarity": "l2"}, "cosine, dot"),
    ],
)
def test_bad_cluster_options_name_the_legal_ones(options, named):
    with pytest.raises(UsageError, match=named):
        hcdorn(**{**SMALL, **options})
