"""A batch's way from bytes to a step: `read`, `plan`, `settle`. Values in, values out.

Room: pure; no clock, file, network or store. The **law of cuts**: outcomes do not depend on where batches are cut, so
a consumer, a replay, a file or a test script may cut as it likes. `tests/pipeline/` cuts at random and compares.

    rows = read(batch, snapshot, app)          bytes to columns, or a refusal with its reason
    seen = ...                                 what the store knows of the rows' identities
    plan = plan(rows, seen, model, app)        which rows are repeats, which must be scored
    step = settle(plan, scores, model, app)    records by topic, state changes, next offsets
"""

from streams.pipeline.app import App, Reads, Watching
from streams.pipeline.fold import Fold
from streams.pipeline.planning import Plan, followers, not_finite, plan
from streams.pipeline.reading import Group, Reasons, Rows, by_partition, read, record_keys, select, unaccepted
from streams.pipeline.refused import Refused
from streams.pipeline.settling import gap, settle

__all__ = [
    "App",
    "Fold",
    "Group",
    "Plan",
    "Reads",
    "Reasons",
    "Refused",
    "Rows",
    "Watching",
    "by_partition",
    "followers",
    "gap",
    "not_finite",
    "plan",
    "read",
    "record_keys",
    "select",
    "settle",
    "unaccepted",
]
