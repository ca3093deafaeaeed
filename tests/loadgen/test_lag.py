import asyncio
import time
from pathlib import Path

import numpy as np
import uvloop

from headrace.loadgen.lag import Heartbeat
from headrace.loadgen.trail import LAGS, Trail, trail_path


def test_a_blocked_loop_shows_in_every_beat_that_it_delayed(tmp_path: Path) -> None:
    trail = Trail(tmp_path, 0)
    beats = 0

    def beat() -> None:
        nonlocal beats
        beats += 1

    async def run() -> None:
        heart = Heartbeat(asyncio.get_running_loop(), trail, beat)
        heart.start()
        await asyncio.sleep(0.035)
        time.sleep(0.105)
        await asyncio.sleep(0.035)
        heart.stop()

    uvloop.run(run())
    trail.close()
    late_s = np.fromfile(trail_path(tmp_path, LAGS, 0)).reshape(-1, 2)[:, 1]
    assert len(late_s) >= beats + 8
    assert late_s.max() > 0.09
    assert (late_s > 0.04).sum() >= 5
