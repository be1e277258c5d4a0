"""What the README shows works as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def test_a_matcher_of_ones_own_copied_into_an_empty_folder(tmp_path):
    (code,) = [
        block for block in re.findall(r"```python\n(.*?)```", README, re.S) if "class MyMatcher" in block
    ]
    assert len(code.splitlines()) < 40
    (tmp_path / "my_matcher.py").write_text(code)
    (check,) = re.findall(r'python -c "(from robustcmr.testing.*?)"', README)
    done = subprocess.run([sys.executable, "-c", check], cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    (command,) = re.findall(r"robustcmr (train --matcher my_matcher:MyMatcher.*)", README)
    small = ["--set", "data.n_train=60", "--set", "data.n_dev=20", "--set", "data.n_test=20", "--epochs", "6"]
    words = [sys.executable, "-m", "robustcmr", *command.split(), *small, "--output", "run"]
    done = subprocess.run(words, cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/pairs.csv").exists()


def test_every_option_shown_exists(tmp_path):
    """Each `--set KEY=` of the README is a key that some part knows."""
    from robustcmr import plugins
    from robustcmr.config.fields import field_rows
    from robustcmr.config.schema import Settings

    known = {row[0] for row in field_rows(Settings)}
    for section, registry in (
        ("data", plugins.datasets),
        ("matcher", plugins.matchers),
        ("method", plugins.methods),
    ):
        for name in registry.names():
            known |= {row[0] for row in field_rows(registry.load(name).Config, f"{section}.")}
    shown = set(re.findall(r"--set ([a-z_]+\.[a-z_]+)=", README))
    assert len(shown) > 5
    assert shown <= known
