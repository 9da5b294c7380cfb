"""Every metric that a worker exposes: name, kind, unit, meaning, labels. Room: pure.

Names follow prometheus.io/docs/practices/naming: one prefix, base units, `_total` for counters, `_info` for facts. No label
is ever a key, a request id or an error's text; topic and partition are labels only where a partition is what is meant.
Counters begin at 0 with every process.
"""

from enum import StrEnum
from typing import Literal, get_args

Kind = Literal["counter", "gauge", "histogram", "info"]
Unit = Literal["records", "seconds", "transactions", "partitions", "events", "windows", "fact", "0 or 1"]


class Metric(StrEnum):
    """A metric's name, and what it says."""

    kind: Kind
    unit: Unit
    meaning: str
    labels: tuple[str, ...]

    def __new__(cls, name: str, kind: Kind, unit: Unit, meaning: str, *labels: str) -> "Metric":
        """Return the name, with its properties. Raises: AssertionError for a unit that is none."""
        assert unit in get_args(Unit), f"{name}: {unit}"
        metric = str.__new__(cls, name)
        metric._value_ = name
        metric.kind, metric.unit, metric.meaning, metric.labels = kind, unit, meaning, labels
        return metric

    RESULTS = (
        "answeronce_results_total",
        "counter",
        "records",
        "Predictions committed to the results topic.",
    )
    OUTCOMES = (
        "answeronce_outcomes_total",
        "counter",
        "records",
        "Records committed to the outcomes topic, by kind: requests that got no new prediction, and GAPs.",
        "kind",
    )
    DEAD_LETTERS = (
        "answeronce_dead_letters_total",
        "counter",
        "records",
        "Requests set aside in a dead-letter topic, by reason.",
        "reason",
    )
    MONITORED = (
        "answeronce_monitored_total",
        "counter",
        "records",
        "Results and labels that the monitor has counted, by what became of each (applied, corrected, too_late, MISPARTITIONED).",
        "source",
        "fate",
    )
    DIRTY_WINDOWS = (
        "answeronce_monitor_dirty_windows",
        "gauge",
        "windows",
        "Windows that have changed since the monitor published them: the newest is published every two seconds, older ones up to "
        "every minute. Absent of a scorer.",
    )
    LATENCY = (
        "answeronce_latency_seconds",
        "histogram",
        "seconds",
        "From a request's append by the broker to the commit of its answer, by the worker's clock against the broker's: "
        "their skew shifts it, and what would be below 0 counts as 0. Requests without a broker's time are left out.",
    )
    STAGE = (
        "answeronce_stage_seconds",
        "histogram",
        "seconds",
        "What the loop's time goes into; the stages leave no gap. `poll` is the waiting for requests, `commit` the waiting for "
        "the broker, less what was done meanwhile.",
        "stage",
    )
    BATCH = (
        "answeronce_batch_records",
        "histogram",
        "records",
        "Requests of a committed transaction.",
    )
    BATCH_LIMIT = (
        "answeronce_batch_limit_records",
        "gauge",
        "records",
        "The most requests that the next batch may have; it shrinks when the model is slow.",
    )
    TRANSACTIONS = (
        "answeronce_transactions_total",
        "counter",
        "transactions",
        "Transactions by how they ended. One that is unknown ends the process: count restarts with code 7 instead.",
        "outcome",
    )
    LAST_COMMIT = (
        "answeronce_last_commit_timestamp_seconds",
        "gauge",
        "seconds",
        "When this process committed last, in Unix time; absent before the first commit.",
    )
    RENEWALS = (
        "answeronce_producer_renewals_total",
        "counter",
        "events",
        "Producers replaced after an abort, a slow commit or a failed connection, so that no late EndTxn can end another transaction.",
    )
    LAG = (
        "answeronce_lag_records",
        "gauge",
        "records",
        "Offsets of an owned partition that wait for an answer, as of the last fetch; a held partition is not fetched. "
        "Transaction markers behind the last request are not counted; markers between waiting requests, and an open "
        "transaction's records, are.",
        "topic",
        "partition",
    )
    LAG_TIME = (
        "answeronce_lag_seconds",
        "gauge",
        "seconds",
        "No request that waits in this partition is older (to within a fetch, and the clocks' skew); 0 where none waits. "
        "Time since the last answered request was appended, or since nothing waited; absent until one of them is known.",
        "topic",
        "partition",
    )
    HELD = (
        "answeronce_held_seconds",
        "gauge",
        "seconds",
        "For how long a partition has been waiting for a schema that the registry does not give; 0 where it is not held.",
        "topic",
        "partition",
    )
    ASSIGNED = (
        "answeronce_assigned_partitions",
        "gauge",
        "partitions",
        "Partitions of all request topics that this worker owns.",
    )
    REMAINING = (
        "answeronce_restore_remaining_records",
        "gauge",
        "records",
        "Changelog offsets that are still to be read before the partition's state is whole; 0 once it is.",
        "partition",
    )
    READY = (
        "answeronce_ready",
        "gauge",
        "0 or 1",
        "1 while /readyz says yes: an assignment, all of it restored.",
    )
    REBALANCES = (
        "answeronce_rebalances_total",
        "counter",
        "events",
        "Changes of ownership that this worker was told of, the first included.",
    )
    PROGRESS_AGE = (
        "answeronce_progress_age_seconds",
        "gauge",
        "seconds",
        "Since the loop began a turn or a step of a restore; the watchdog ends the process at limits.turn_ms.",
    )
    RESTARTS = (
        "answeronce_worker_restarts_total",
        "counter",
        "events",
        "How often this supervisor started this slot's worker again, by the exit code of the one before (-9: killed).",
        "code",
    )
    WORKER = (
        "answeronce_worker_info",
        "info",
        "fact",
        "Which worker this is.",
        "application",
        "slot",
    )
    MODEL = (
        "answeronce_model_info",
        "info",
        "fact",
        "Which model answers; absent until it is loaded.",
        "model",
        "version",
        "digest",
    )
    BUILD = (
        "answeronce_build_info",
        "info",
        "fact",
        "What this worker runs on.",
        "version",
        "python",
        "client",
    )
