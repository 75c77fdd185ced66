"""Other people's weights: the names and shapes of the real files, and the outputs of the original implementations.

`tests/data/foreign_keys.json.gz` lists the parameters of torchvision 0.29's, mmsegmentation 1.2.2's and hszhao/semseg's
own classes at full size. `foreign_outputs.json.gz` holds samples of what those classes give for weights and images that
are made by formula (`fill`, `picture`), so neither weights nor foreign code are needed here.
"""

import gzip
import json
import math
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import models
from hc_deploy.errors import DeployError, UsageError
from hc_deploy.export.checkpoint import Checkpoint, CheckpointInfo, load_state, read_checkpoint, save_checkpoint
from hc_deploy.export.describe import describe_checkpoint
from hc_deploy.export.families import recognise
from hc_deploy.ops import hc_argmax
from hc_deploy.spec import IMAGENET_MEAN, IMAGENET_STD
from models.load import load_network
from models.train.loop import initialise_backbone
from models.weights_from.mmseg_meta import class_set, normalisation_of, options_of
from models.weights_from.translate import load_backbone, translate

ROOT = Path(__file__).parents[2]
SIZES = ((33, 329), (47, 66))
"""8k + 1, wide enough for the largest dilation (36) to reach; then one that no stride divides."""
PERIOD = 1_000_003


def _noise():
    """A table of PERIOD values uniform in [-1, 1): integer hash, the same on every machine."""
    x = np.arange(PERIOD, dtype=np.uint32)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    return torch.from_numpy((x.astype(np.float64) / 2**31 - 1).astype(np.float32))


NOISE = _noise()


def values(name, shape):
    """Values for the tensor `name`: the noise table, read from a place that its name gives."""
    count, start = math.prod(shape), zlib.crc32(name.encode()) % PERIOD
    turns = -(-(start + count) // PERIOD)
    return NOISE.repeat(turns)[start : start + count].reshape(shape).clone()


def fill(shapes, prefix=""):
    """A state dict by formula: {name: shape} -> {name: tensor}, of a size that keeps activations near 1."""
    state = {}
    for name, shape in shapes.items():
        noise = values(prefix + name, tuple(shape))
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(0)
        elif name.endswith("running_var"):
            state[name] = 1 + 0.3 * noise
        elif len(shape) > 1:
            state[name] = noise * math.sqrt(6 / math.prod(shape[1:]))
        elif name.endswith("weight"):
            state[name] = 0.7 + 0.2 * noise
        else:
            state[name] = 0.1 * noise
    return state


def picture(size):
    """A normalised image [1,3,H,W] by formula: noise on a gradient."""
    ramp = torch.linspace(-1, 1, size[0]).reshape(1, 1, -1, 1) * torch.linspace(-1, 1, size[1]).reshape(1, 1, 1, -1)
    return values("image", (1, 3, *size)) + ramp


def sample(x):
    """About 400 values, spread over the whole tensor."""
    flat = x.flatten()
    return [float(f"{value:.7g}") for value in flat[:: flat.numel() // 400 | 1].tolist()]


def data(name):
    return json.loads(gzip.decompress((ROOT / "tests/data" / name).read_bytes()))


KEYS = data("foreign_keys.json.gz")
OUTPUTS = data("foreign_outputs.json.gz")
CLASSIFIERS = [name for name in KEYS if name.startswith("torchvision resnet")]
NETWORKS = [name for name in KEYS if name not in CLASSIFIERS]
PARAMETERS = {  # published by torchvision for its own files
    "torchvision atrousfcn_resnet50": 35_322_218,
    "torchvision atrousfcn_resnet101": 54_314_346,
    "torchvision deeplabv3_resnet50": 42_004_074,
    "torchvision deeplabv3_resnet101": 60_996_202,
    "torchvision resnet18": 11_689_512,
    "torchvision resnet50": 25_557_032,
    "torchvision resnet101": 44_549_160,
}


def described(name):
    """'mmseg pspnet_resnet50b' -> family, our architecture, whether the stem is the single convolution."""
    family, network = name.split()[:2]
    return family, network.removesuffix("b"), network.endswith("b") or "single" in name


def meta_state(name):
    return {key: torch.empty(shape, device="meta") for key, shape in KEYS[name].items()}


def foreign(name, info=None):
    return Checkpoint(Path("weights.safetensors"), info or CheckpointInfo(), meta_state(name))


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_lists_are_the_published_files(name):
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    assert sum(math.prod(shape) for key, shape in KEYS[name].items() if not key.endswith(buffers)) == PARAMETERS[name]


def has_aux(name):
    return any(key.startswith(("aux", "module.aux")) for key in KEYS[name])


@pytest.mark.parametrize(
    ("name", "aux"), [(name, aux) for name in NETWORKS for aux in (False, True)[: 1 + has_aux(name)]]
)
def test_every_parameter_of_the_real_file_finds_its_place(name, aux):
    """Nothing missing, unexpected or mis-shaped at full size; family, network and options come from the file alone."""
    family, arch, single = described(name)
    checkpoint = translate(foreign(name), "auto", arch=None, options={"aux": aux})
    assert checkpoint.info.arch == arch and checkpoint.info.training["weights_from"] == family
    assert (checkpoint.info.options.get("stem") == "deep") == (family == "mmseg" and not single)
    with torch.device("meta"):
        net = models.build(arch, **checkpoint.info.options, aux=aux)
    load_state(net, checkpoint, arch=arch)
    dropped = {key for key in KEYS[name] if key.startswith(("aux", "module.aux"))} if not aux else set()
    assert len(checkpoint.state) == len(KEYS[name]) - len(dropped)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifiers_backbone(name):
    found = recognise(KEYS[name])
    assert (found.family, found.architecture, found.backbone) == ("torchvision", "backbone", name.split()[1])
    with torch.device("meta"):
        net = load_backbone(foreign(name), found)
    assert {f"backbone.{key}" for key in KEYS[name] if not key.startswith("fc.")} == set(net.state_dict())


def written(name, folder):
    path = folder / "weights.pth"
    torch.save({"state_dict": fill(OUTPUTS[name]["shapes"])}, path)
    return path


@pytest.mark.parametrize("name", [name for name in OUTPUTS if name not in CLASSIFIERS])
def test_same_logits_as_the_original(name, tmp_path):
    """The original class's enlarged logits, and its auxiliary head's, for the same weights and images."""
    family, arch, _ = described(name)
    wanted = {key: value for key, value in OUTPUTS[name].items() if key != "shapes"}
    options = {"aux": True} if "aux" in wanted["33x329"] else {}
    options |= {"align_corners": True} if "aligned" in name else {}
    net, spec = load_network(written(name, tmp_path), arch=arch, options=options, weights_from=family)
    assert len(spec.classes) == 5 and spec.options["classes"] == 5
    for size in SIZES:
        expected = wanted.get("{}x{}".format(*size))
        if expected is None:
            assert family == "semseg" and size[0] % 8 != 1  # the original refuses the size
            continue
        with torch.no_grad():
            outputs = net.forward_with_aux(picture(size)) if options.get("aux") else (net(picture(size)),)
        for key, logits in zip(("out", "aux"), outputs, strict=False):
            enlarged = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)  # what HCArgmax does
            torch.testing.assert_close(
                torch.tensor(sample(enlarged)), torch.tensor(expected[key]), rtol=1e-4, atol=2e-5 * enlarged.abs().max()
            )


@pytest.mark.parametrize("name", [name for name in OUTPUTS if name in CLASSIFIERS])
def test_same_maps_as_the_original_backbone(name):
    state = fill(OUTPUTS[name]["shapes"])
    net = load_backbone(Checkpoint(Path("w.pth"), CheckpointInfo(), state), recognise(state)).eval()
    for size in SIZES:
        with torch.no_grad():
            maps = net.backbone(picture(size))
        for stage, x in enumerate(maps[1:], start=1):
            expected = torch.tensor(OUTPUTS[name]["{}x{}".format(*size)][f"layer{stage}"])
            torch.testing.assert_close(torch.tensor(sample(x[:, :: x.shape[1] // 8])), expected, rtol=1e-4, atol=5e-5)


def test_aligned_labels_are_the_argmax_of_the_aligned_logits():
    """HCArgmax enlarges with half-pixel centres: at the image's own size it changes nothing."""
    options = {"variant": "semseg", "stem": "wide", "align_corners": True}
    net = models.build("pspnet_resnet50", width=4, classes=7, **options).eval()
    with torch.no_grad():
        logits = net(picture((41, 57)))
    assert logits.shape == (1, 7, 41, 57)
    assert torch.equal(hc_argmax(logits, (41, 57)), logits.argmax(1).int())


def small(family, arch, **options):
    """A small network of ours under `family`'s names: {their name: tensor}."""
    listed = KEYS[f"{family} {arch}"]
    net = models.build(arch, width=4, classes=5, **options)
    checkpoint = translate(foreign(f"{family} {arch}"), family, arch=arch, options={"aux": True})
    ours = dict(zip(checkpoint.state, listed, strict=True))
    return {ours[name]: tensor for name, tensor in net.state_dict().items()}


PSP = ("mmseg", "pspnet_resnet50")
PSP_OPTIONS = {"variant": "mmseg", "stem": "deep", "aux": True}


@pytest.fixture(scope="module")
def psp(tmp_path_factory):
    state = small(*PSP, **PSP_OPTIONS)
    path = tmp_path_factory.mktemp("psp") / "psp.pth"
    names, palette = ["a", "b", "c", "d", "e"], [[i, 2 * i, 3 * i] for i in range(5)]
    torch.save({"meta": {"CLASSES": names, "PALETTE": palette}, "state_dict": state}, path)
    return path


def run(*arguments):
    result = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT)
    assert "Traceback" not in result.stderr, result.stderr
    return result


def test_export_and_conversion(psp, tmp_path):
    """As users do it: in one step, and by way of a file of ours that needs no option any more."""
    arguments = ["--size", "33x41", "-o", tmp_path / "out"]
    result = run("export.py", psp, "--arch", "pspnet_resnet50", "--weights-from", "mmseg", *arguments)
    assert result.returncode == 0, result.stderr
    assert "5 classes" in result.stdout
    result = run("-m", "models.weights_from", psp, "-o", tmp_path / "psp.safetensors")
    assert result.returncode == 0 and "variant" in result.stdout, result.stderr
    net, spec = load_network(tmp_path / "psp.safetensors")
    direct, _ = load_network(psp, weights_from="auto")
    assert spec.classes == ("a", "b", "c", "d", "e") and spec.palette[2] == (2, 4, 6)
    assert spec.options == {"classes": 5, "width": 4, "stem": "deep", "variant": "mmseg"}
    assert torch.equal(net(picture((33, 41))), direct(picture((33, 41))))


def test_aligned_network_exports(tmp_path):
    """Free sizes: export.py's own verification runs the file beside torch."""
    options = [f"--option={pair}" for pair in ("variant=semseg", "stem=wide", "align_corners=True")]
    arguments = ["--random-init", "--arch", "pspnet_resnet18", "--width", "4", *options]
    result = run("export.py", *arguments, "--size", "41x57", "--dynamic", "-o", tmp_path)
    assert result.returncode == 0, result.stderr


def test_names_with_and_without_data_parallel():
    bare = {key.removeprefix("module."): tensor for key, tensor in meta_state("semseg pspnet_resnet50").items()}
    checkpoint = Checkpoint(Path("w.pth"), CheckpointInfo(), bare)
    wrapped = translate(foreign("semseg pspnet_resnet50"), "semseg", arch=None, options={})
    assert list(translate(checkpoint, "semseg", arch=None, options={}).state) == list(wrapped.state)


def test_a_classifier_starts_the_training_of_a_twin(tmp_path):
    net = models.build("fcn32_resnet18", width=4)
    state = {name.removeprefix("backbone."): t for name, t in net.state_dict().items() if name.startswith("backbone.")}
    torch.save({**state, "fc.weight": torch.zeros(10, 32), "fc.bias": torch.zeros(10)}, tmp_path / "resnet18.pth")
    out = tmp_path / "backbone.safetensors"
    assert "backbone resnet18" in run("-m", "models.weights_from", tmp_path / "resnet18.pth", "-o", out).stdout
    assert "backbone alone" in dict(describe_checkpoint(out))["network"]
    twin = models.build("hcfcn32_resnet18", width=4)
    initialise_backbone(twin, out)
    assert all(torch.equal(twin.state_dict()[f"backbone.{name}"], tensor) for name, tensor in state.items())
    result = run("export.py", tmp_path / "resnet18.pth", "--arch", "fcn32_resnet18", "--weights-from", "torchvision")
    assert result.returncode == 1 and "--init backbone.safetensors" in result.stderr


@pytest.mark.parametrize("level", [0, 4])
def test_a_segmentation_network_starts_the_training_of_a_twin(psp, tmp_path, level):
    """The twin needs the same stem; head and clustering start from random weights."""
    net, spec = load_network(psp, weights_from="mmseg")
    save_checkpoint(tmp_path / "psp.safetensors", net, CheckpointInfo(arch=spec.arch, options=spec.options))
    twin = models.build("hcpspnet_resnet50", width=4, stem="deep", level=level).eval()
    initialise_backbone(twin, tmp_path / "psp.safetensors")
    assert torch.equal(twin.backbone.deep_stem(picture((33, 41))), net.backbone.deep_stem(picture((33, 41))))
    assert torch.isfinite(twin(picture((33, 41)))).all()
    with pytest.raises(DeployError, match="deep_stem"):
        initialise_backbone(models.build("hcpspnet_resnet50", width=4), tmp_path / "psp.safetensors")


@pytest.mark.parametrize("zipped", [True, False])
def test_meta_of_both_kinds_of_pth(tmp_path, zipped):
    """Files saved before torch 1.6 are plain pickles."""
    content = {
        "meta": {"CLASSES": ("a",), "epoch": 3},
        "state_dict": models.build("fcn32_resnet18", width=4).state_dict(),
    }
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    assert read_checkpoint(tmp_path / "w.pth").meta == content["meta"]
    torch.save(content["state_dict"], tmp_path / "bare.pth", _use_new_zipfile_serialization=zipped)
    assert read_checkpoint(tmp_path / "bare.pth").meta == {}


def test_misfits_are_listed(psp, tmp_path):
    state = read_checkpoint(psp).state
    del state["decode_head.bottleneck.bn.bias"]
    state["decode_head.extra.weight"] = torch.zeros(1)
    state["head.classify.weight"] = torch.zeros(1)  # one of our names is no licence
    state["backbone.stem.0.weight"] = torch.zeros(9)
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(DeployError) as caught:
        load_network(tmp_path / "bad.pth", arch="pspnet_resnet50", weights_from="mmseg")
    message = str(caught.value)
    assert "missing (1): head.project.1.bias" in message
    assert "unexpected (2): decode_head.extra.weight (no rule), head.classify.weight (no rule)" in message
    assert "mis-shaped (1): backbone.deep_stem.0.weight (9,)" in message


@pytest.mark.parametrize(
    ("family", "arch", "named"),
    [
        ("timm", None, "torchvision, mmseg, semseg, auto"),
        ("torchvision", None, "mmsegmentation"),
        ("mmseg", "fcn32_resnet50", "atrousfcn"),
        ("mmseg", "hcpspnet_resnet50", "--init"),
        ("mmseg", "pspnet_resnet101", "missing"),
        ("mmseg", "deeplabv3_resnet50", "no rule"),
    ],
)
def test_refusals_name_what_is_right(psp, family, arch, named):
    with pytest.raises(DeployError, match=named):
        load_network(psp, arch=arch, weights_from=family)


def test_auto_refuses_what_no_family_has(tmp_path):
    torch.save(models.build("fcn32_resnet18", width=4).state_dict(), tmp_path / "ours.pth")
    with pytest.raises(DeployError, match="torchvision: torchvision; mmseg: mmsegmentation; semseg"):
        load_network(tmp_path / "ours.pth", weights_from="auto")
    net = models.build("fcn32_resnet18", width=4)
    save_checkpoint(tmp_path / "ours.safetensors", net, CheckpointInfo(arch="fcn32_resnet18", options={"width": 4}))
    with pytest.raises(UsageError, match="no --weights-from"):
        load_network(tmp_path / "ours.safetensors", weights_from="mmseg")


def test_inspect_names_the_family(psp):
    lines = dict(describe_checkpoint(psp))
    assert lines["family"] == "mmsegmentation: export with --arch pspnet_resnet50 --weights-from mmseg"
    assert recognise(["backbone.layer1.0.conv1.weight", "head.classify.weight"]) is None
    resnet152 = [key.replace("layer3.22.", "layer3.35.") for key in KEYS["mmseg pspnet_resnet101"]]
    resnet152 += [f"backbone.layer3.{block}.conv1.weight" for block in range(22, 36)]
    assert "not built here" in recognise(resnet152).describe()


CONFIG = """model = dict(backbone=dict(type='ResNetV1c', dilations=(1, 1, 2, 4),
    strides=(1, 2, 1, 1), style='pytorch', contract_dilation=True),
    decode_head=dict(type='PSPHead', pool_scales=(1, 2, 3, 6), align_corners={align}),
    auxiliary_head=dict(align_corners={align}))
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])"""


def test_configuration_tells_apart_what_weights_do_not():
    where = {"architecture": "pspnet", "path": Path("w.pth")}
    assert options_of({"config": CONFIG.format(align=False)}, **where) == {}
    assert options_of({"cfg": CONFIG.format(align=True)}, **where) == {"align_corners": True}
    assert options_of({}, **where) == {}
    for ours, theirs in (
        ("(1, 2, 1, 1)", "(1, 2, 2, 2)"),
        ("(1, 1, 2, 4)", "(\n 1,\n 1,\n 1,\n 2,\n)"),
        ("contract_dilation=True", "contract_dilation=False"),
        ("'pytorch'", "'caffe'"),
        ("align_corners=False)", "align_corners=True)"),
    ):
        with pytest.raises(DeployError, match="was trained with"):
            options_of({"config": CONFIG.format(align=False).replace(ours, theirs, 1)}, **where)


@pytest.mark.parametrize(
    ("meta", "names", "first"),
    [
        ({"CLASSES": ("a", "b"), "PALETTE": [[1, 2, 3], [4, 5, 6]]}, ("a", "b"), (1, 2, 3)),
        ({"dataset_meta": {"classes": ["a"], "palette": [[9, 9, 9]]}}, ("a",), (9, 9, 9)),
        ({"CLASSES": ["a"], "PALETTE": None}, ("a",), None),
        ({"CLASSES": ["a"], "PALETTE": [[1, 2, 300]]}, ("a",), None),
        ({"CLASSES": [1, 2]}, (), None),
        ({}, (), None),
    ],
)
def test_class_names_of_mmseg(meta, names, first):
    classes = class_set(meta)
    assert classes.names == names and len(classes.palette) == len(names)
    assert first is None or classes.palette[0] == first


def test_a_number_of_classes_names_none():
    for name in ("torchvision deeplabv3_resnet50", "semseg pspnet_resnet101"):
        assert translate(foreign(name), "auto", arch=None, options={}).info.classes == ()


IMAGENET = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)",
         {**IMAGENET, "channels": "rgb"}),
        ("data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)",
         {**IMAGENET, "channels": "rgb"}),
        ("img_norm_cfg = dict(mean=[102.9801, 115.9465, 122.7717], std=[1.0, 1.0, 1.0], to_rgb=False)",
         {"mean": (102.9801 / 255, 115.9465 / 255, 122.7717 / 255), "std": (1 / 255,) * 3, "channels": "bgr"}),
        ("data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])",
         {"mean": (0.5,) * 3, "std": (0.5,) * 3, "channels": "bgr"}),
        ("model = dict(type='EncoderDecoder')", {}),
    ],
)  # fmt: skip
def test_normalisation_that_a_configuration_states(text, expected):
    found = normalisation_of({"cfg": text}, path=Path("w.pth"))
    assert found.pop("stated", None) is (True if expected else None)
    assert found.keys() == expected.keys() and found.get("channels") == expected.get("channels")
    for name in found.keys() - {"channels"}:
        assert found[name] == pytest.approx(expected[name], rel=1e-6)
    two = text + text.replace("127.5", "1.5").replace("123.675", "1.5").replace("102.9801", "1.5")
    if expected:
        with pytest.raises(DeployError, match="several normalisations"):
            normalisation_of({"cfg": two}, path=Path("w.pth"))
