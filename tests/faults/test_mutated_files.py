"""Some of the damaged files of ``mutated_files.py``, which by itself tries 3,000."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("mutated_files.py")


@pytest.mark.skipif(os.name == "nt", reason="needs alarms and limits of memory")
def test_damaged_files_are_read_or_refused_in_one_sentence():
    ended = subprocess.run([sys.executable, PROGRAM, "30", "7"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{ended.stdout[-5000:]}\n{ended.stderr[-2000:]}"
    assert json.loads(ended.stdout.splitlines()[-1]) == {"files": 30, "failures": 0}
