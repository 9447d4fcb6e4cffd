"""When Python looks for garbage in cycles: each look holds the event loop up.

A delivery makes hundreds of objects, nearly none of them in cycles: looking for those took a fifth of a worker's CPU. And with
5,000 tenants a look at everything takes 0.2 s, and there is one whenever what lives long has grown by a quarter: as
connections are opened, again and again.
"""

import gc

THRESHOLDS = (20_000, 2, 500)
"""The first, so that most of a delivery is gone by then; the second is small, for a look at what the first ones left
takes 0.1 s from 200,000 objects on; after the third a busy worker looks at everything every quarter of an hour or so."""


def look_seldom() -> None:
    """From now on; what is there already is never looked at again. Takes a moment itself."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
