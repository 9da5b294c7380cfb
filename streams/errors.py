"""Why a command or a worker stops, and with which exit code.

    Stop                     a reason to end this process, with a code and what to do next
    ├── ConfigError      2   the configuration, a file or an argument is wrong: nothing was started
    ├── SetupError       4   the world is not ready: topics, permissions, disk, Java, Maven
    │   └── Unreachable  8   a broker or the registry does not answer (yet)
    ├── OffsetsError     5   committed offsets and the changelog disagree: a person must decide
    ├── SlotTaken        6   another live process owns this slot
    ├── OutcomeUnknown   7   a transaction may or may not be committed: restart and recover
    ├── StateError       9   the local state cannot be read or written: restart; the changelog has it all
    └── Fenced          10   the broker lets another epoch of this slot write: restart and recover

Refusals of single records are not errors; they are values (`reasons.py`).
"""


class Stop(Exception):
    """A reason to end this process. `str()` says what, where, what is safe, and what to do next."""

    code = 1
    restart = True
    """Whether the supervisor should start the slot again."""


class ConfigError(Stop):
    """The configuration, a file or an argument is wrong; nothing was started."""

    code = 2
    restart = False


class SetupError(Stop):
    """Something this process needs is missing or contradicts the guarantee; nothing was consumed."""

    code = 4
    restart = False


class Unreachable(SetupError):
    """A broker or the registry does not answer; trying again later may help."""

    code = 8
    restart = True


class OffsetsError(Stop):
    """Committed offsets and the changelog's frames disagree; going on could lose or double answers."""

    code = 5
    restart = False


class SlotTaken(Stop):
    """Another live process owns this slot; two that restart each other would never commit."""

    code = 6
    restart = False


class OutcomeUnknown(Stop):
    """A transaction's outcome is unknown; only a restart, which recovers from the log, can tell."""

    code = 7


class StateError(Stop):
    """The local state cannot be read or written: a full disk, or corruption, which is set aside; nothing is lost."""

    code = 9


class Fenced(Stop):
    """The broker lets only a newer epoch of this transactional id write; what was open is aborted, or was committed.

    Another live worker may have taken the id, or the coordinator took the transaction for too old: a worker that was frozen,
    a coordinator whose clock is ahead of its predecessor's. Only that it happens again and again tells the two apart.
    """

    code = 10


UNCHECKED = 3
"""`streams verify`: nothing wrong was found, but a part could not be checked."""
