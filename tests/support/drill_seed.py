"""The seed of a drill: `DRILL_SEED` repeats what a run drew (`make soak` gives one), else it is drawn."""

import os
import random


def drill_seed() -> int:
    return int(os.environ.get("DRILL_SEED") or random.SystemRandom().randrange(1_000_000))
