"""A video as frames and labels, as fast as you ask for them: python examples/video.py MODEL VIDEO"""

import sys

import hc_deploy

model, video = sys.argv[1:]
with hc_deploy.open_session(model) as session:
    for answer in hc_deploy.segment_video(video, session, limit=100):
        frame = answer.frame  # .image is uint8 BGR [height, width, 3]; answer.labels is [height, width]
        seen = len(set(answer.labels[::8, ::8].flat))
        print(f"frame {frame.index} at {frame.time_s:.2f} s: {seen} classes in sight")
