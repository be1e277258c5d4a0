"""``noise_injection`` stands alone: NumPy and the standard library, nothing of ``robustcmr``."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_import_pulls_in_neither_torch_nor_robustcmr() -> None:
    code = (
        "import sys, noise_injection.cli, noise_injection.__main__\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(done.stdout))
    assert {"noise_injection", "numpy"} <= loaded
    assert not loaded & {
        "torch",
        "robustcmr",
        "accelerate",
        "transformers",
        "scipy",
        "sklearn",
        "pydantic",
        "typer",
    }


def test_sources_import_only_numpy_and_the_standard_library() -> None:
    allowed = {"noise_injection", "numpy", *sys.stdlib_module_names}
    for path in sorted((ROOT / "noise_injection").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path.name} imports relatively"
                names = [node.module or ""]
            else:
                continue
            assert {name.split(".")[0] for name in names} <= allowed, f"{path.name} imports {names}"
