"""Networks as people bring them: their own modules, outputs and habits. `arch("dict")` names a factory of this file."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Record = namedtuple("Record", "aux logits")


@dataclass
class Answer:
    loss: object
    logits: torch.Tensor


class Net(nn.Module):
    """Two strided convolutions and a classifier; batch norms with statistics that matter."""

    def __init__(self, classes=4, channels=3):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Conv2d(16, classes, 1)

    def forward(self, x):
        return self.head(self.body(x))


def trained(cls=Net, **options):
    """A network whose answer depends on every one of its tensors."""
    torch.manual_seed(7)
    net = cls(**options)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.2, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
    net.eval()
    with torch.no_grad():  # every class somewhere
        x = torch.randn(2, options.get("channels", 3), 8, 12).repeat_interleave(8, 2).repeat_interleave(8, 3)
        logits = Net.forward(net, x)
        mean, deviation = logits.mean((0, 2, 3)), logits.std((0, 2, 3))
        net.head.weight /= deviation.reshape(-1, 1, 1, 1)
        net.head.bias.copy_((net.head.bias - mean) / deviation)
    return net


class DictNet(Net):
    def forward(self, x):
        logits = super().forward(x)
        return OrderedDict(aux=-logits, out=F.interpolate(logits, size=x.shape[2:], mode="bilinear"))


class TupleNet(Net):
    def forward(self, x):
        logits = super().forward(x)
        return logits, -logits


class RecordNet(Net):
    def forward(self, x):
        logits = super().forward(x)
        return Record(-logits, logits)


class DataclassNet(Net):
    def forward(self, x):
        return Answer(None, super().forward(x))


class SilentTrain(Net):
    def train(self, mode=True):
        super().train(mode)


class Colliding(Net):
    """Attributes of our names that mean something else."""

    def __init__(self, **options):
        super().__init__(**options)
        self.task, self.level, self.spec, self.scale, self.net = "semantic", "L3", object(), 3, None


class AtLeast(Net):
    """Needs an image of 48x64 and more."""

    def forward(self, x):
        if x.shape[2] < 48 or x.shape[3] < 64:
            raise RuntimeError(f"padding of {x.shape[3]} is too small")
        return super().forward(x)


def build(kind="plain", **options):
    kinds = {"plain": Net, "dict": DictNet, "tuple": TupleNet, "record": RecordNet, "dataclass": DataclassNet,
             "silent": SilentTrain, "colliding": Colliding, "least": AtLeast}  # fmt: skip
    return kinds[kind](**options)


def loaded(**options):
    """A factory that has loaded its weights by itself."""
    return trained(**options)


def scripted():
    return torch.jit.script(Net())


def partly_scripted():
    return torch.nn.Sequential(torch.nn.Identity(), scripted())


def traced():
    return torch.jit.trace(Net().eval(), torch.zeros(1, 3, 64, 96))


class LooksAtValues(Net):
    """An `if` on what is in the image."""

    def forward(self, x):
        logits = super().forward(x)
        return logits if x.mean() > 0 else -logits


def truth(net, images, *, mean=MEAN, std=STD, scale=255.0, bgr=False, gray=False):
    """Labels [B,H,W] of uint8 RGB images by plain torch, as the network's own author would compute them."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).double()
    if gray:
        x = (x[:, :1] * 0.299 + x[:, 1:2] * 0.587 + x[:, 2:] * 0.114).round()
    if bgr:
        x = x.flip(1)
    shape = (1, -1, 1, 1)
    x = ((x / scale - torch.tensor(mean).double().reshape(shape)) / torch.tensor(std).double().reshape(shape)).float()
    with torch.no_grad():
        logits = net(x)
    enlarged = F.interpolate(logits, size=images.shape[1:3], mode="bilinear")
    return (enlarged[:, 0] > 0).long().numpy() if logits.shape[1] == 1 else enlarged.argmax(1).numpy()
