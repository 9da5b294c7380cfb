"""How a result is told is the same for all parts of the long tier."""

from tests.faults.conftest import result as result
