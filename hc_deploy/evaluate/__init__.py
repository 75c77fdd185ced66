"""How well a model does: against ground truth (metrics) and against another runtime (fidelity)."""
