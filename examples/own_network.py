"""Your own network, to one verified ONNX file: python examples/own_network.py WEIGHTS.pth OUT/model.onnx"""

import sys

from torch import nn

import hc_deploy
from hc_deploy.classes import numbered_classes


def build() -> nn.Module:
    """Any network that maps a normalised image [B,3,H,W] to logits [B,classes,h,w]."""
    return nn.Sequential(nn.Conv2d(3, 16, 3, stride=4, padding=1), nn.ReLU(), nn.Conv2d(16, 5, 1))


weights, output = sys.argv[1:]
network = build()
hc_deploy.load_checkpoint(weights, network)
names = numbered_classes(5)  # or your own names and colours
spec = hc_deploy.ModelSpec("examples.own_network:build", names.names, names.palette, height=256, width=512)
exported = hc_deploy.export_model(network, spec, output)
print(f"{exported.files[0]}: {exported.fidelity.summary()}")
