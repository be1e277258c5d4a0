"""The package itself is light: nothing heavy is loaded until it is needed."""

import subprocess
import sys
import tomllib
from pathlib import Path

import robustcmr

ROOT = Path(__file__).resolve().parents[2]


def loaded_by(code: str) -> set[str]:
    """Top-level modules that are loaded after some code has run in a fresh Python."""
    code += "\nimport sys\nprint(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_loads_the_standard_library_alone():
    loaded = loaded_by("import robustcmr") - loaded_by("pass")
    assert loaded - sys.stdlib_module_names == {"robustcmr"}


def test_no_help_text_loads_torch():
    helps = [[], *([command] for command in ("train", "eval", "suspects", "rematch", "report", "compare"))]
    code = f"""
from typer.testing import CliRunner
from robustcmr.cli.main import app
for words in {helps}:
    outcome = CliRunner().invoke(app, [*words, "--help"])
    assert outcome.exit_code == 0 and "Usage" in outcome.output, (words, outcome.output)
"""
    assert not loaded_by(code) & {"torch", "transformers", "accelerate", "matplotlib"}


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert robustcmr.__version__ == project["version"]
