"""What every test stands on."""

import os
import signal
import threading
from pathlib import Path

import hypothesis
import pytest

# Before torch is loaded, and inherited by the commands that tests start: tests run side by side,
# and threads that wait for each other on a busy processor are many times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell makes what it starts in the background deaf to interrupts, and so the commands that tests
# start and interrupt.
is_main = threading.current_thread() is threading.main_thread()
if is_main and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# An example that takes long says nothing but that the machine is busy.
hypothesis.settings.register_profile("candid", deadline=None)
hypothesis.settings.load_profile("candid")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where processes share the tests, the long ones come first, so that none is waited for."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real images, where there is one; tests that ask for it skip elsewhere."""
    named = os.environ.get("CANDID_TEST_DATA")
    path = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not (path / "celeba64").is_dir():
        pytest.skip(f"no real images in {path}: set CANDID_TEST_DATA to a folder with celeba64")
    return path
