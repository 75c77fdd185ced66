"""A photo and what a model sees in it: python examples/photo.py MODEL PHOTO"""

import sys

import numpy as np

import hc_deploy

model, photo = sys.argv[1:]
with hc_deploy.open_session(model) as session:
    answer = hc_deploy.segment_image(photo, session)
    for label, pixels in zip(*np.unique(answer.labels, return_counts=True), strict=True):
        print(f"{session.spec.classes[label]:<16} {pixels / answer.labels.size:6.1%}")
