"""More epochs for a finished run, and runs that start from the weights of another."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from robustcmr.config.resolve import RunConfig, resolve
from robustcmr.errors import CheckpointError, ConfigError, RunFolderError, UserError
from robustcmr.jobs import continuation
from robustcmr.jobs.train import resume, train
from robustcmr.methods.baseline import Hinge
from robustcmr.runs.folder import RunFolder
from robustcmr.training.checkpoint import load_modules
from robustcmr.training.loop import Trainer


@pytest.fixture
def configured(tiny_tree: dict[str, Any]) -> Callable[..., RunConfig]:
    def configure(epochs: int, **sections: Any) -> RunConfig:
        return resolve({**tiny_tree, "training": {**tiny_tree["training"], "epochs": epochs}, **sections})

    return configure


MILESTONES = {"optim": {"lr": 0.003, "milestones": [1, 3]}}
DIVIDING = {**MILESTONES, "method": {"name": "robust", "warmup_epochs": 1}}


@pytest.mark.parametrize("sections", [MILESTONES, DIVIDING], ids=["hinge", "robust"])
def test_extended_equals_a_run_begun_with_as_many_epochs(
    sections: dict[str, Any], configured: Any, tmp_path: Path, comparable_run: Any
) -> None:
    whole, parts = train(configured(4, **sections), tmp_path / "a"), tmp_path / "b"
    train(configured(2, **sections), parts)
    extended = resume(parts, epochs=4)
    one, other = comparable_run(whole.path), comparable_run(parts)
    results = extended.read_results()
    assert results is not None
    assert (results["epochs"], results["extended_from"]) == (4, [2])
    assert len(extended.read_metrics()) == 4
    assert extended.read_config()["training"]["epochs"] == 4
    one["results"].pop("extended_from", None)
    other["results"].pop("extended_from")
    assert one == other
    assert whole.pairs.exists() == extended.pairs.exists()
    if whole.pairs.exists():
        assert whole.pairs.read_bytes() == extended.pairs.read_bytes()
    assert sorted(p.name for p in whole.plots.iterdir()) == sorted(p.name for p in extended.plots.iterdir())


def test_a_cosine_is_stretched_and_falls_to_zero_again(configured: Any, tmp_path: Path, caplog: Any) -> None:
    config = configured(2, optim={"lr": 0.003, "schedule": "cosine", "warmup_steps": 2})
    train(config, tmp_path / "run")
    rows = resume(tmp_path / "run", epochs=5).read_metrics()
    expected = [0.5 * (1 + math.cos(math.pi * done)) * 0.003 for done in (1 / 2, 1, 3 / 5, 4 / 5, 1)]
    assert [row["lr"] for row in rows] == pytest.approx(expected, abs=1e-12)
    assert "extended from 2 to 5 epochs; the cosine of the learning rate now spans 5 epochs" in caplog.text


@pytest.mark.parametrize("place", ["history", "config", "results", "step", "measured"])
def test_a_kill_while_it_is_extended_is_resumed(
    place: str, configured: Any, tmp_path: Path, monkeypatch: Any, comparable_run: Any
) -> None:
    path = tmp_path / "run"
    train(configured(1, **MILESTONES), path)

    def killed(*args: Any, **options: Any) -> Any:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        if place == "history":
            patch.setattr(continuation, "write_text", killed)
        elif place == "config":
            unlink = Path.unlink
            patch.setattr(
                Path,
                "unlink",
                lambda self, **o: (killed if self == path / "results.json" else unlink)(self, **o),
            )
        elif place == "results":
            patch.setattr(continuation, "logger", SimpleNamespace(info=killed))
        elif place == "step":
            patch.setattr(Trainer, "_take_step", killed)
        else:
            patch.setattr("robustcmr.jobs.train.write_queries", killed)
        with pytest.raises(RuntimeError, match="killed"):
            resume(path, epochs=3)
    if place in ("results", "step", "measured"):  # a run that has more to do has not finished
        assert not (path / "results.json").exists()
    done = resume(path) if place != "step" else resume(path, epochs=3)
    results = done.read_results()
    assert results is not None
    assert (results["epochs"], results["extended_from"]) == (3, [1])
    other = comparable_run(train(configured(3, **MILESTONES), tmp_path / "whole").path)
    assert comparable_run(path)["weights"] == other["weights"]


def test_fewer_epochs_are_refused_and_as_many_are_no_work(configured: Any, tmp_path: Path) -> None:
    run = train(configured(2), tmp_path / "run")
    before = run.results.read_bytes()
    sentence = f"--epochs is 1, but {run.path} is configured for 2; expected more, such as --epochs 4"
    with pytest.raises(ConfigError) as refused:
        resume(run.path, epochs=1)
    assert str(refused.value) == sentence
    for wrong in (0, -1, True, "3", 2.5):
        with pytest.raises(ConfigError, match="expected a whole number of at least 1"):
            resume(run.path, epochs=wrong)  # type: ignore[arg-type]
    resume(run.path, epochs=2)
    assert run.results.read_bytes() == before
    assert not run.history.exists()
    run.history.write_text('{"epochs": [2, "x"]}')
    with pytest.raises(RunFolderError, match=r"history\.json is damaged"):
        resume(run.path)


def test_without_its_last_checkpoint_a_run_cannot_go_on(configured: Any, tmp_path: Path) -> None:
    run = train(configured(1), tmp_path / "run")
    last = run.checkpoint("last")
    last.rename(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="from which training goes on, is gone"):
        resume(run.path, epochs=2)
    assert run.read_results() is not None


# another run's weights


def test_a_run_starts_from_the_weights_of_another(
    configured: Any, tmp_path: Path, monkeypatch: Any, comparable_run: Any
) -> None:
    first = train(configured(1), tmp_path / "first")
    seen: list[bool] = []
    fit = Trainer.fit

    def compare(self: Trainer, on_epoch: Any) -> None:
        found = {key: value.clone() for key, value in self.modules["matcher_0"].state_dict().items()}
        load_modules(first.checkpoint("best"), {"matcher_0": self.modules["matcher_0"]})
        seen.append(
            all(
                bool((value == found[key]).all())
                for key, value in self.modules["matcher_0"].state_dict().items()
            )
        )
        fit(self, on_epoch)

    monkeypatch.setattr(Trainer, "fit", compare)
    second = train(configured(1, noise={"ratio": 0.2}), tmp_path / "second", warm_start=first.path)
    results = second.read_results()
    assert seen == [True]
    assert results is not None
    record = results["warm_start"]
    assert (record["run"], record["data"], record["method"]) == (str(first.path), "precomp", "hinge")
    assert record["best_epoch"] == 1
    monkeypatch.undo()
    # a kill before the first checkpoint, then to the same numbers
    killed = tmp_path / "killed"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_take_step", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(configured(1, noise={"ratio": 0.2}), killed, warm_start=first.path)
    resume(killed)
    assert comparable_run(killed) == comparable_run(second.path)


def test_a_warm_start_whose_source_has_changed_is_not_resumed(
    configured: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    first = train(configured(1), tmp_path / "first")
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_take_step", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(configured(1), tmp_path / "second", warm_start=first.path)
    train(configured(1, seed=5), first.path, overwrite=True)
    with pytest.raises(CheckpointError, match="have changed since this run began"):
        resume(tmp_path / "second")


def test_what_does_not_fit_is_refused_before_anything_is_written(
    configured: Any, tmp_path: Path, tiny_tree: dict[str, Any], monkeypatch: Any
) -> None:
    first = train(configured(1), tmp_path / "first")
    new = tmp_path / "new"

    def refused(config: RunConfig, source: Path = first.path, output: Path = new) -> str:
        with pytest.raises(UserError) as error:
            train(config, output, True, warm_start=source)
        assert not new.exists()
        return str(error.value)

    other = refused(configured(1, matcher={"name": "scan", "dim": 16}))
    assert other == (
        f"{first.path} trained the matcher omit, but this run has scan; add --matcher omit, or leave --from "
        "out"
    )
    wider = refused(configured(1, matcher={**tiny_tree["matcher"], "dim": 32}))
    assert "are of another architecture than the configured matcher" in wider
    assert "expected a folder made by 'robustcmr train'" in refused(configured(1), tmp_path / "gone")
    assert "--from and --output are both" in refused(configured(1), output=first.path)
    with monkeypatch.context() as patch:
        patch.setattr(Hinge, "n_matchers", 2)
        assert "holds 1 network(s), but the method hinge trains 2" in refused(configured(1))
    words = json.loads(first.vocabulary.read_text())
    fewer = tmp_path / "fewer.json"
    kept = [words["idx2word"][str(i)] for i in range(words["idx"] - 1)]
    fewer.write_text(
        json.dumps(
            {
                "idx": len(kept),
                "word2idx": {word: i for i, word in enumerate(kept)},
                "idx2word": {str(i): word for i, word in enumerate(kept)},
            }
        )
    )
    sentence = refused(configured(1, text={"vocabulary": str(fewer)}))
    assert f"add --set text.vocabulary={first.vocabulary} to use those of that run" in sentence
    assert RunFolder(first.path).read_results() is not None
