"""People's own networks: outputs, inputs, normalisations. Each gives what plain torch gives, or is refused in words."""

import numpy as np
import pytest
import torch

from hc_deploy.classes import read_classes
from hc_deploy.errors import DeployError, UsageError
from hc_deploy.export.deployed import DeployedNet
from hc_deploy.export.networks import Deployment, logits_of
from hc_deploy.export.onnx import export_onnx, save_onnx
from hc_deploy.export.untouched import Untouched
from hc_deploy.runtime import open_session
from hc_deploy.spec import ModelSpec
from models.asked import Asked
from models.load import load_network, new_network
from tests.field import nets
from tests.field.nets import trained, truth

FACTORY = "tests.field.nets:build"
BGR = {"mean": (104.0, 117.0, 123.0), "std": (1.0, 2.0, 0.5), "scale": 1.0}
SIZE = (64, 96)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(3)
    blocks = rng.integers(0, 256, (2, 9, 13, 3)).astype(np.uint8)
    return np.ascontiguousarray(np.kron(blocks, np.ones((1, 8, 8, 1), np.uint8))[:, : SIZE[0], : SIZE[1]])


def brought(tmp_path, net, *, asked=None, **options):
    """A user's network by the road that a checkpoint takes."""
    torch.save(net.state_dict(), tmp_path / "net.pth")
    return load_network(tmp_path / "net.pth", arch=FACTORY, options=options, asked=asked or Asked(size=SIZE))


def labels_of(loaded, images):
    """By the deployed module, and by the session that exports are held against."""
    with torch.no_grad():
        deployed = DeployedNet(loaded.net, loaded.spec)(torch.from_numpy(images))[0].numpy()
    outside = Untouched(loaded.net, loaded.spec).run(images)["labels"]
    assert (outside == deployed).mean() > 0.999 and outside.dtype == deployed.dtype
    return deployed


@pytest.mark.parametrize("kind", ["plain", "dict", "tuple", "record", "dataclass", "silent", "colliding", "least"])
def test_outputs_and_habits(tmp_path, images, kind):
    loaded = brought(tmp_path, trained(), kind=kind)
    assert (loaded.spec.task, loaded.spec.level, len(loaded.spec.classes)) == ("segmentation", 0, 4)
    assert (labels_of(loaded, images) == truth(trained(), images)).mean() > 0.999
    assert len(np.unique(truth(trained(), images))) == 4


def test_a_factory_that_loads_its_weights_is_left_as_it_is(images):
    loaded = new_network("tests.field.nets:loaded", {}, asked=Asked(size=SIZE))
    state = trained().state_dict()
    assert all(torch.equal(value, state[name]) for name, value in loaded.net.state_dict().items())
    labels_of(loaded, images)
    export_onnx(loaded.net, sized(loaded.spec))
    assert all(torch.equal(value, state[name]) for name, value in loaded.net.state_dict().items())


def test_the_size_asked_at_is_the_one_given(tmp_path):
    with pytest.raises(DeployError, match=r"\[1,3,32,32\]: padding of 32 is too small"):
        brought(tmp_path, trained(), kind="least", asked=Asked(size=(32, 32)))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Asked(size=SIZE), {}),
        (Asked(mean=BGR["mean"], std=BGR["std"], scale=1.0, channels="bgr", size=SIZE), {**BGR, "bgr": True}),
        (Asked(mean=(0, 0, 0), std=(1, 1, 1), size=SIZE), {"mean": (0, 0, 0), "std": (1, 1, 1)}),
        (Asked(channels="bgr", size=SIZE), {"mean": nets.MEAN[::-1], "std": nets.STD[::-1], "bgr": True}),
    ],
    ids=["imagenet", "caffe", "plain", "bgr"],
)  # fmt: skip
def test_normalisations(tmp_path, images, asked, expected):
    loaded = brought(tmp_path, trained(), asked=asked)
    right = truth(trained(), images, **expected)
    assert (labels_of(loaded, images) == right).mean() > 0.999
    assert loaded.spec.normalisation == ("stated" if asked.normalisation else "assumed")
    assert ("assumed" in loaded.spec.normalisation_text()) != asked.normalisation
    assert ModelSpec.from_json(loaded.spec.to_json(), source="x") == loaded.spec
    others = [truth(trained(), images, **other) for other in ({}, {**BGR, "bgr": True}) if other != expected]
    assert all((right == other).mean() < 0.97 for other in others), "the normalisation makes no difference here"


def test_gray(tmp_path, images):
    net, asked = trained(channels=1), Asked(mean=(0.4,), std=(0.3,), size=SIZE)
    loaded = brought(tmp_path, net, asked=asked, channels=1)
    assert loaded.spec.channels == "gray"
    right = truth(net, images, mean=(0.4,), std=(0.3,), gray=True)
    assert (labels_of(loaded, images) == right).mean() > 0.999
    with pytest.raises(UsageError, match="no --mean and --std"):
        brought(tmp_path, net, channels=1)


@pytest.mark.parametrize("channels", [2, 4])
def test_other_channels_are_said(tmp_path, channels):
    with pytest.raises(DeployError, match=f"it takes {channels} channels"):
        brought(tmp_path, trained(channels=channels), channels=channels)


@pytest.mark.parametrize("threshold", [None, 0.3, 0.7])
def test_one_channel_is_two_classes_by_the_sign(tmp_path, images, threshold):
    net = trained(classes=1)
    loaded = brought(tmp_path, net, classes=1, asked=Asked(threshold=threshold, size=SIZE))
    shifted = trained(classes=1)
    level = threshold or 0.5
    with torch.no_grad():
        shifted.head.bias -= float(np.log(level / (1 - level)))
    right = truth(shifted, images)
    assert 0.02 < right.mean() < 0.98
    assert (labels_of(loaded, images) == right).mean() > 0.999
    assert loaded.spec.classes == ("background", "foreground") and loaded.spec.threshold == level
    with pytest.raises(UsageError, match="--threshold"):
        brought(tmp_path, trained(), asked=Asked(threshold=0.5, size=SIZE))


@pytest.mark.parametrize(("classes", "kind"), [(256, "uint8"), (257, "int32"), (300, "int32")])
def test_many_classes_do_not_wrap(tmp_path, images, classes, kind):
    net = trained(classes=classes)
    loaded = brought(tmp_path, net, classes=classes)
    labels = labels_of(loaded, images)
    assert labels.dtype == kind and (labels == truth(net, images)).mean() > 0.999
    assert classes < 300 or labels.max() > 255


def sized(spec, size=SIZE):
    import dataclasses

    return dataclasses.replace(spec, batch=2, height=size[0], width=size[1])


@pytest.mark.parametrize("kind", ["binary", "caffe", "gray", "many"])
def test_the_onnx_file_answers_as_plain_torch(tmp_path, images, kind):
    net, expected, asked, options = {
        "binary": (trained(classes=1), {}, Asked(size=SIZE), {"classes": 1}),
        "caffe": (trained(), {**BGR, "bgr": True},
                  Asked(mean=BGR["mean"], std=BGR["std"], scale=1.0, channels="bgr", size=SIZE), {}),
        "gray": (trained(channels=1), {"mean": (0.4,), "std": (0.3,), "gray": True},
                 Asked(mean=(0.4,), std=(0.3,), size=SIZE), {"channels": 1}),
        "many": (trained(classes=300), {}, Asked(size=SIZE), {"classes": 300}),
    }[kind]  # fmt: skip
    loaded = brought(tmp_path, net, asked=asked, **options)
    save_onnx(export_onnx(loaded.net, sized(loaded.spec)), tmp_path / "model.onnx")
    with open_session(tmp_path / "model.onnx", provider="cpu") as session:
        labels = session.run(images)["labels"]
    assert labels.dtype == loaded.spec.label_type
    assert (labels == truth(net, images, **expected)).mean() > 0.999


def test_weights_that_are_no_numbers_are_refused_without_a_checkpoint():
    with pytest.raises(DeployError, match="head.bias: 4 of 4 values are NaN"):
        new_network("tests.field.test_networks:broken", {}, asked=Asked(size=SIZE))


def broken():
    net = trained()
    torch.nn.init.constant_(net.head.bias, float("nan"))
    return net


def test_logits_in_other_containers():
    logits = torch.zeros(1, 2, 3, 4)
    assert logits_of({"aux": -logits, "logits": logits}) is logits
    assert logits_of({"anything": logits, "loss": torch.zeros(())}) is logits
    assert logits_of([torch.zeros(3), logits]) is logits
    for bad, words in ((torch.zeros(3), "a tensor"), ({"a": logits, "b": logits}, "a dict of a, b"), (3, "a int")):
        with pytest.raises(ValueError, match=words):
            logits_of(bad)


def test_a_deployment_that_is_not_there_is_refused():
    class Says(nets.Net):
        __hc_deploy__ = Deployment("depth")

    nets_kinds = {"says": Says}
    with pytest.raises(DeployError, match="says to be for depth"):
        from hc_deploy.export.networks import deployment_of

        deployment_of(nets_kinds["says"](), "mine")


def test_class_names(tmp_path):
    assert new_network("fcn32_resnet18", {"width": 4}).spec.classes[:2] == ("class 0", "class 1")
    text, listed, mapped = tmp_path / "a.txt", tmp_path / "a.json", tmp_path / "b.json"
    text.write_text("road 128 64 128\nside walk #f423e8\n\nsky\n")
    listed.write_text('["a", "b"]')
    mapped.write_text('{"classes": ["a", "b"], "palette": [[1, 2, 3], [4, 5, 6]]}')
    found = read_classes(str(text))
    assert found.names == ("road", "side walk", "sky") and found.palette[:2] == ((128, 64, 128), (244, 35, 232))
    assert read_classes(str(listed)).names == ("a", "b")
    assert read_classes(str(mapped)).palette == ((1, 2, 3), (4, 5, 6))
    assert len(read_classes("cityscapes").names) == 19 and read_classes("voc").palette[1] == (128, 0, 0)
    mapped.write_text('{"classes": ["a"], "palette": [[1, 2, 300]]}')
    for bad in (str(tmp_path / "none"), str(mapped)):
        with pytest.raises(UsageError, match="classes from"):
            read_classes(bad)
    with pytest.raises(UsageError, match="names 3 classes"):
        new_network("fcn32_resnet18", {"width": 4, "classes": 2}, asked=Asked(classes=found))


class Positions(nets.Net):
    """Adds something of one size."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Parameter(torch.zeros(1, 4, 16, 24))

    def forward(self, x):
        return super().forward(x) + self.table


class Multiples(nets.Net):
    """Takes multiples of 16 alone."""

    def forward(self, x):
        y = super().forward(x)
        b, c, h, w = y.shape
        return torch.nn.functional.interpolate(y.reshape(b, c, h // 4, 4, w // 4, 4).mean((3, 5)), scale_factor=4.0)


class Pooling(nets.Net):
    """A pyramid of the user's own."""

    def __init__(self):
        super().__init__()
        self.pools = torch.nn.ModuleList(torch.nn.AdaptiveAvgPool2d(bins) for bins in (1, 2, 3, (6, 5), (None, 4)))

    def forward(self, x):
        y = super().forward(x)
        pooled = [torch.nn.functional.interpolate(pool(y), size=y.shape[2:], mode="bilinear") for pool in self.pools]
        return y + sum(pooled)


def test_adaptive_pooling_is_right_at_every_size(tmp_path, images):
    net = trained(Pooling)
    save_onnx(dynamic(net), tmp_path / "model.onnx")
    with open_session(tmp_path / "model.onnx", provider="cpu") as session:
        for height, width in (SIZE, (37, 61), (128, 96)):
            picture = np.ascontiguousarray(np.tile(images[:1], (1, 2, 2, 1))[:, :height, :width])
            assert (session.run(picture)["labels"] == truth(net, picture)).mean() > 0.999


def dynamic(net):
    return export_onnx(net, nets_spec(), example=SIZE)


def nets_spec():
    return ModelSpec(arch="mine:build", classes=("a", "b", "c", "d"), palette=((0, 0, 0),) * 4)


def test_dynamic_is_traced_at_the_size_that_the_network_takes(tmp_path, images):
    net = trained(Multiples)
    save_onnx(dynamic(net), tmp_path / "model.onnx")
    taller = np.concatenate([images, images[:, ::-1]], axis=1)
    with open_session(tmp_path / "model.onnx", provider="cpu") as session:
        for picture in (images, np.ascontiguousarray(taller)):
            assert (session.run(picture)["labels"] == truth(net, picture)).mean() > 0.999


def test_a_dimension_that_is_fixed_is_named():
    with pytest.raises(DeployError, match="fixes height 64 and width 96|cannot be exported") as caught:
        dynamic(trained(Positions))
    assert "without --dynamic" in caught.value.mend


@pytest.mark.parametrize("kind", ["scripted", "partly_scripted", "traced"])
def test_torchscript_networks_are_named(kind):
    with pytest.raises(UsageError, match="TorchScript") as caught:
        new_network(f"tests.field.nets:{kind}", {})
    assert "torch.jit.script" in caught.value.mend


def test_a_network_that_looks_at_values_is_told_what_to_do():
    with pytest.raises(DeployError, match="cannot be exported") as caught:
        export_onnx(trained(nets.LooksAtValues), sized(nets_spec()))
    assert "torch.where" in caught.value.mend
