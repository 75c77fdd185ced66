"""An engine from a model, built, described and opened: python examples/engine.py model.onnx model.engine"""

import sys
from pathlib import Path

import hc_deploy

model, engine = map(Path, sys.argv[1:])
with hc_deploy.open_session(model) as session:
    spec = session.spec
options = hc_deploy.BuildOptions.of(spec, "tensorrt-rtx", "fp16", plugin="none")  # RTX engines build without a GPU
built = hc_deploy.build_engine(model, engine, options)
print(f"{built.engine}: {built.sidecar.layers.count} layers; {built.precision_parity}; engine {built.engine_parity}")
try:
    with hc_deploy.open_session(engine) as session:
        print(f"opened on {session.provider}")
except hc_deploy.DeployError as error:
    print(f"not opened here: {error.received}")
