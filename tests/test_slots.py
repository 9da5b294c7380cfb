"""Slots are exclusive for the life of a process."""

import subprocess
import sys
from pathlib import Path

import pytest

from streams.errors import SlotTaken, StateError
from streams.slots import Slot, forget_progress, instance, last_progress


def test_a_slot_has_one_owner(tmp_path: Path) -> None:
    """A second process is refused and told who holds it; when the owner dies, however it dies, the slot is free."""
    hold = (
        "import sys; from pathlib import Path; from streams.slots import Slot; s = Slot(Path(sys.argv[1]), 'a-00')\n"
        "s.note('x[0] 1..2'); s.note('x[0] 3..4', True); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert b"held\n" == owner.stdout.readline()
        with pytest.raises(SlotTaken, match=str(owner.pid)):
            Slot(tmp_path, "a-00", patience_s=0.1)
        Slot(tmp_path, "a-01")
        owner.kill()
    assert "x[0] 1..2, x[0] 3..4" == last_progress(tmp_path, "a-00")
    forget_progress(tmp_path, "a-00")
    assert "" == last_progress(tmp_path, "a-00")
    Slot(tmp_path, "a-00")


def test_an_owner_that_is_about_to_end_is_waited_for(tmp_path: Path) -> None:
    """Killed with its supervisor, a worker holds its slot for a moment longer: the next one does not give up over that."""
    hold = (
        "import sys, time; from pathlib import Path; from streams.slots import Slot; s = Slot(Path(sys.argv[1]), 'a-00')\n"
        "print('held', flush=True); time.sleep(0.5)"
    )
    with subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert b"held\n" == owner.stdout.readline()
        Slot(tmp_path, "a-00", patience_s=10.0)
        assert 0 == owner.wait(1)


def test_two_hosts_do_not_share_an_instance(tmp_path: Path) -> None:
    """The flag wins, then the pod's name, then an id that is made once for each state directory."""
    assert "rack7" == instance(tmp_path, "rack7", {"POD_NAME": "scorer-3"})
    assert "scorer-3" == instance(tmp_path, None, {"POD_NAME": "scorer-3"})
    here = instance(tmp_path / "here", None, {})
    assert here == instance(tmp_path / "here", None, {})
    assert here != instance(tmp_path / "there", None, {})


def test_a_state_directory_that_cannot_be_written_is_said_with_what_to_do(tmp_path: Path) -> None:
    """As one that another user has made: a fault of the disk, which is tried again, and no traceback."""
    (tmp_path / "file").write_text("in the way")
    for attempt in (lambda: instance(tmp_path / "file" / "state", None, {}), lambda: Slot(tmp_path / "file", "a-00")):
        with pytest.raises(
            StateError, match=r"cannot be written \(.*Let the user that runs the workers own .*app\.state_dir"
        ):
            attempt()
