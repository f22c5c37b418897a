import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[1] / "docs" / "guide.md"


@pytest.mark.slow
def test_the_guide_runs(tmp_path):
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```", GUIDE.read_text("utf-8"), re.M | re.S)
    assert {kind for kind, _ in blocks} == {"sh", "python"}
    place = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": place, "CANDID_CACHE": str(tmp_path / "cache")}
    for kind, block in blocks:
        words = ["bash", "-euc", block] if kind == "sh" else [sys.executable, "-c", block]
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        assert done.stdout, block
    assert (tmp_path / "runs/first/report.html").is_file()
    assert (tmp_path / "grid.png").is_file()
