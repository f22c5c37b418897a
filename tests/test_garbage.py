"""A command looks for cycles seldom, and not at its end."""

import subprocess
import sys

_CODE = """
import atexit, gc
atexit.register(lambda: print(gc.get_freeze_count() > 1000))  # the first to come is the last to go
from candid.garbage import collect_rarely
before = gc.get_threshold()
collect_rarely()
print(gc.isenabled(), gc.get_threshold()[0] > 10 * before[0], gc.get_freeze_count())
"""


def test_cycles_are_looked_for_seldom_and_not_at_the_end():
    command = [sys.executable, "-c", _CODE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "0", "True"]
