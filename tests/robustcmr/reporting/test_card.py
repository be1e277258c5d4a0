"""The model card says what the run folder says, and the code in it runs."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from noise_injection.printing import one_line
from robustcmr.config.resolve import resolve
from robustcmr.jobs.train import train
from robustcmr.reporting.card import model_card
from robustcmr.runs.read import SavedRun, read_run

ROOT = Path(__file__).resolve().parents[3]


def card(results: dict[str, Any], **config: Any) -> str:
    return model_card(SavedRun(Path("runs/a"), results, [], config))


def test_results_with_their_provenance(make_results):
    text = card(make_results(321.6, seed=3, best_epoch=7, epochs=12))
    assert "| test | 53.6 | 53.6 | 53.6 | 53.6 | 53.6 | 53.6 | 321.6 | 10 + 50 |" in text
    assert "by a single model. Epoch 7 of 12 was chosen by rSum on the dev split" in text
    assert "40.0% of the pairs are wrong (requested: 40.0%), kind mismatch, caption protocol, seed 3" in text
    assert f"fingerprint `{'f' * 64}`" in text
    assert f"noise hash: `{make_results(seed=3)['noise_hash']}`" in text
    assert "robustcmr 0.1.0" in text
    assert text.startswith("---\nlibrary_name: robustcmr\n")
    assert "knows nothing of photographs" in text


def test_nothing_in_it_becomes_markup_or_leaves_its_block(make_results):
    name = "<script>a</script> | `b`\n```\n# [c](d) $(id) \x1b\u202e"
    results = make_results(data=name, matcher=name, method=name, protocol=name, noise={"source": name})
    text = model_card(SavedRun(Path(name), results, [], {"matcher": {name: name}}))
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text, flags=re.DOTALL)  # without code
    assert "<" not in outside.replace("\\<", "")
    assert "[c]" not in outside
    assert not {"\x1b", "\u202e"} & set(text)
    assert [line for line in text.splitlines() if line.startswith("```")] == [
        "```python",
        "```",
        "```sh",
        "```",
    ]
    (command,) = re.findall("```sh\n(.*?)\n```", text, re.DOTALL)
    assert shlex.split(command)[2] == one_line(name)
    (code,) = re.findall("```python\n(.*?)\n```\n", text, re.DOTALL)
    assert name in [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]


def test_ensembles_clean_data_and_noise_files(make_results):
    clean = card(make_results(n_models=2, noise_ratio=0.0, data="f30k"))
    assert "an ENSEMBLE of 2 models" in clean
    assert "noise: none was added; all pairs are as they were written" in clean
    assert "noise hash" not in clean
    assert "photographs" not in clean
    read = card(
        make_results(noise_ratio=None, noise_ratio_realised=0.2, noise={"seed": None, "source": "0.2.npy"})
    )
    assert "20.0% of the pairs are wrong, kind" in read
    assert "noise file: `0.2.npy`" in read


def test_findings_of_both_tracks(make_results):
    believed = {"suspected": 0.25, "noise_rate": 0.3, "noise_interval": [0.2, 0.4]}
    text = card(make_results(findings={**believed, "division": {"precision": 0.9, "recall": 0.8}}))
    assert "25.0% of the training pairs look wrong" in text
    assert "share of wrong pairs is 30.0% (95% interval 20.0% to 40.0%)" in text
    assert "90.0% of the suspects are wrong (precision)" in text
    assert "80.0% of the wrong pairs are suspected (recall)" in text
    assert "In truth" not in card(
        make_results(findings={"suspected": 0.0, "noise_rate": None, "reason": "one group"})
    )
    judged = {"given_accuracy": 0.6, "corrected_accuracy": 0.75}
    measures = {"map": 50.0, "map_i2t": 60.0, "map_t2i": 40.0, "n_images": 9, "n_texts": 8}
    labelled = {"track": "labels", "splits": {"test": measures}}
    text = card(make_results(**labelled, findings={"changed": 0.2, "correction": judged}))
    assert "| test | 60.0 | 40.0 | 50.0 | 9 + 8 |" in text
    assert "20.0% of the training pairs look mislabelled" in text
    assert "60.0% of the given labels and 75.0% of the corrected labels are right" in text
    assert "of the labels are wrong" in text
    assert "In truth" not in card(make_results(**labelled, findings={"changed": 0.2}))


@pytest.mark.parametrize("track", ["pairs", "labels"])
def test_the_code_in_it_runs_and_gives_the_result(track, tiny_tree, labelled_folder, tmp_path):
    tree = tiny_tree
    if track == "labels":
        tree = {
            "data": {"name": "labelled", "root": str(labelled_folder)},
            "matcher": {"name": "two_tower", "dim": 8, "hidden": []},
            "method": {"name": "uot_rcl"},
            "noise": {"ratio": 0.2},
            "training": {"epochs": 1, "batch_size": 16, "device": "cpu"},
        }
    tree = {**tree, "training": {**tree["training"], "epochs": 1}}
    run = read_run(train(resolve(tree), tmp_path / "a run").path)
    (code,) = re.findall(r"```python\n(.*?)```", model_card(run), re.S)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    expected = run.results["splits"]["test"][{"pairs": "rsum", "labels": "map"}[track]]
    assert float(done.stdout) == pytest.approx(expected)
    if track == "labels":
        assert "got another class" in model_card(run)
