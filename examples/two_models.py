"""Two models measured side by side: python examples/two_models.py BASELINE.onnx MODEL.onnx"""

import sys

import hc_deploy
from hc_deploy.bench.clocks import Plan
from hc_deploy.bench.report import Clock
from hc_deploy.bench.results import results

baseline, model = sys.argv[1:]
report = hc_deploy.benchmark({"baseline": baseline, "model": model}, plan=Plan(max_seconds=10))
for result in results(report):
    print(f"{result.name}: {result.summaries[Clock.ENGINE].median:.2f} ms, {result.fps:.1f} frames/s")
    if result.ratios is not None:
        ratio = result.ratios[Clock.ENGINE]
        print(f"its time over the baseline's: {ratio.value:.3f} [{ratio.interval.low:.3f}, {ratio.interval.high:.3f}]")
