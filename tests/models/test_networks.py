"""The networks: the contract every architecture keeps, and what hierarchical clustering must leave as it was."""

import pytest
import torch
import torch.nn.functional as F

import models
from hc_deploy.errors import UsageError
from hc_deploy.ops import hc_upsample
from models.deform import DeformableConv2d
from models.heads import PYRAMID_BINS, adaptive_average
from models.resnet import ResNet

TWINS = [("fcn32", "hcfcn32"), ("fpn", "hcfpn"), ("pspnet", "hcpspnet"), ("deeplabv3", "hcdeeplabv3")]
SEGMENTATION = [*(name for pair in TWINS for name in pair), "atrousfcn"]
# Parameters of torchvision's own ResNets without their classifier (fc: 513,000 / 2,049,000 / 2,049,000).
RESNET_PARAMETERS = {
    "resnet18": 11_689_512 - 513_000,
    "resnet50": 25_557_032 - 2_049_000,
    "resnet101": 44_549_160 - 2_049_000,
}


def image(height=97, width=131, batch=1, seed=0):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", RESNET_PARAMETERS)
def test_resnet_is_torchvisions(name):
    net = ResNet(name)
    assert sum(p.numel() for p in net.parameters()) == RESNET_PARAMETERS[name]
    keys = set(net.state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer4.1.bn2.bias"} <= keys
    assert {"layer2.0.downsample.0.weight", "layer2.0.downsample.1.running_var"} <= keys
    assert ("layer3.22.conv3.weight" in keys) == (name == "resnet101")


def test_resnet_by_hand():
    """ResNet-18 stage by stage against functional code with the same weights (torchvision's forward, rewritten)."""
    net = ResNet("resnet18", width=8).eval()
    state = net.state_dict()

    def norm(x, key):
        return F.batch_norm(x, *(state[f"{key}.{p}"] for p in ("running_mean", "running_var", "weight", "bias")))

    x = torch.relu(norm(F.conv2d(image(), state["conv1.weight"], stride=2, padding=3), "bn1"))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage in range(1, 5):
        for block in range(2):
            key = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = torch.relu(norm(F.conv2d(x, state[f"{key}.conv1.weight"], stride=stride, padding=1), f"{key}.bn1"))
            y = norm(F.conv2d(y, state[f"{key}.conv2.weight"], padding=1), f"{key}.bn2")
            if stride == 2:
                x = norm(F.conv2d(x, state[f"{key}.downsample.0.weight"], stride=2), f"{key}.downsample.1")
            x = torch.relu(x + y)
    torch.testing.assert_close(net(image())[-1], x)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_output_stride(output_stride):
    maps = ResNet("resnet50", width=8, output_stride=output_stride).eval()(image(96, 128))
    assert maps[-1].shape[2:] == (96 // output_stride, 128 // output_stride)
    assert maps[0].shape[2:] == (48, 64)


@pytest.mark.parametrize(("plain", "hierarchical"), TWINS)
@pytest.mark.parametrize("level", range(5))
def test_feed_forward_path_is_bit_identical(plain, hierarchical, level):
    """The HC wrapper computes the plain backbone's maps bit for bit, and adds only embeddings to its parameters."""
    net = models.build(f"{hierarchical}_resnet18", width=8, level=level).eval()
    maps, clusters = net.clustering(net.backbone, image())
    for own, plain_map in zip(maps, net.backbone(image()), strict=True):
        assert torch.equal(own, plain_map)
    assert len(clusters) == level
    stride = min(2 ** (5 - level), 8) if hierarchical == "hcfpn" else 2 ** (5 - level)
    assert net(image()).shape[2:] == tuple(-(-side // stride) for side in (97, 131))
    twin = models.build(f"{plain}_resnet18", width=8)
    added = set(net.state_dict()) - set(twin.state_dict())
    assert len(added) == 2 * level and all(name.startswith("clustering.conv") for name in added)
    assert set(twin.state_dict()) <= set(net.state_dict())


@pytest.mark.parametrize(("plain", "hierarchical"), [TWINS[0], TWINS[1]])
def test_level_zero_is_the_plain_network(plain, hierarchical):
    """For the twins of output stride 32; PSPNet's and DeepLabv3's differ from them by the atrous backbone too."""
    plain = models.build(f"{plain}_resnet18", width=8).eval()
    twin = models.build(f"{hierarchical}_resnet18", width=8, level=0).eval()
    twin.load_state_dict(plain.state_dict())
    assert torch.equal(plain(image()), twin(image()))


@pytest.mark.parametrize("branch", ["identity", "residual", "block"])
def test_sampling_branch(branch):
    """Seeds are I(x), R(x) or relu(I(x) + R(x)) of the downsampling block, embedded by W~."""
    net = models.build("hcfcn32_resnet50", width=4, level=1, branch=branch).eval()
    x = net.backbone(image())[3]
    block = net.backbone.layer4[0]
    main = block.bn3(block.conv3(torch.relu(block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x))))))))
    parts = {"identity": block.downsample(x), "residual": main, "block": torch.relu(block.downsample(x) + main)}
    seeds = net.clustering(net.backbone, image())[1][0].seeds
    torch.testing.assert_close(seeds, net.clustering.conv5_x.seed(parts[branch]))


@pytest.mark.parametrize("name", [f"{a}_resnet18" for a in SEGMENTATION])
def test_one_pixel(name):
    """The smallest image there is: every downsampling gives at least one pixel."""
    with torch.no_grad():
        assert torch.isfinite(models.build(name, width=8).eval()(image(1, 1))).all()


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (13, 6), (32, 64)])
@pytest.mark.parametrize("bins", PYRAMID_BINS)
def test_adaptive_average_is_exact(size, bins):
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(adaptive_average(x, bins), F.adaptive_avg_pool2d(x, bins))


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("hcpspnet_resnet19", {}, "hcpspnet_resnet18"),
        ("segformer", {}, "fcn32_resnet18"),
        ("fcn32_resnet18", {"level": 2}, "classes, width"),
        ("hcfcn32_resnet18", {"level": 5}, "0, 1, 2, 3, 4"),
        ("hcfcn32_resnet18", {"branch": "main"}, "identity, residual, block"),
        ("fcn32_resnet18", {"downsample": "pool"}, "conv, dcnv2"),
        ("hcfcn32_resnet18", {"similarity": "l2"}, "cosine, dot"),
        ("hcfcn32_resnet18", {"tau": -1.0}, "positive"),
        ("fcn32_resnet18", {"classes": 0}, "1 to 4096"),
        ("fcn32_resnet18", {"classes": 300}, "255"),
    ],
)
def test_bad_names_and_options_name_the_legal_ones(name, options, named):
    with pytest.raises(UsageError, match=named):
        models.build(name, **options)


# Published by torchvision for its own networks with 21 classes and the auxiliary head.
TORCHVISION_PARAMETERS = {
    "atrousfcn_resnet50": 35_322_218,
    "atrousfcn_resnet101": 54_314_346,
    "deeplabv3_resnet50": 42_004_074,
    "deeplabv3_resnet101": 60_996_202,
}


@pytest.mark.parametrize("name", TORCHVISION_PARAMETERS)
def test_parameter_count_is_torchvisions(name):
    with torch.device("meta"):
        net = models.build(name, classes=21, aux=True)
    assert sum(p.numel() for p in net.parameters()) == TORCHVISION_PARAMETERS[name]


def test_aux_head_is_not_run_by_forward():
    net = models.build("pspnet_resnet18", width=8, aux=True).eval()
    twin = models.build("pspnet_resnet18", width=8).eval()
    twin.load_state_dict({key: value for key, value in net.state_dict().items() if not key.startswith("aux.")})
    assert torch.equal(net(image()), twin(image()))
    with pytest.raises(ValueError, match="aux=True"):
        twin.forward_with_aux(image())


def test_hcfpn_decodes_its_top_down_path():
    """Level 2 by hand: both enlargements of the pyramid go through hc_upsample, none is bilinear."""
    net = models.build("hcfpn_resnet18", width=8).eval()
    maps, clusters = net.clustering(net.backbone, image())
    head = net.head
    x = head.lateral[2](maps[4])
    x = head.lateral[1](maps[3]) + hc_upsample(x, *clusters[0])
    x = head.lateral[0](maps[2]) + hc_upsample(x, *clusters[1])
    torch.testing.assert_close(net(image()), head.classify(head.smooth(x)))


@pytest.mark.parametrize("name", ["hcfcn32_resnet18", "fcn32_resnet50"])
def test_dcnv2_replaces_the_strided_convolutions(name):
    """Every 3x3 convolution of stride 2 but conv1, and no other; starts as half a regular convolution."""
    net = models.build(name, width=8, downsample="dcnv2").eval()
    deformable = [key for key, module in net.named_modules() if isinstance(module, DeformableConv2d)]
    inner = "conv1" if name.endswith("18") else "conv2"
    assert deformable == [f"backbone.layer{stage}.0.{inner}" for stage in (2, 3, 4)]
    module = net.get_submodule(deformable[0])
    x = torch.randn(1, module.weight.shape[1], 9, 13)
    torch.testing.assert_close(module(x), 0.5 * F.conv2d(x, module.weight, stride=2, padding=1))
