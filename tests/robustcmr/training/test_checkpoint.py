from __future__ import annotations

import itertools
import os
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from torch import nn

from robustcmr.errors import CheckpointError, UserError
from robustcmr.files import regular_file
from robustcmr.training import checkpoint
from robustcmr.training.checkpoint import is_saved, load_modules, load_state, recover, save_checkpoint


def network(width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 2), nn.BatchNorm1d(2))


def test_round_trip(tmp_path: Path) -> None:
    a, b = network(), network()
    state = {"n": 3, "nested": {"t": torch.arange(4), "text": "é", "none": None}, "list": [1.5, (2, 3)]}
    save_checkpoint(tmp_path / "last", {"net": a}, state)
    load_modules(tmp_path / "last", {"net": b})
    for key, value in a.state_dict().items():
        assert torch.equal(b.state_dict()[key], value)
    loaded = load_state(tmp_path / "last")
    assert torch.equal(loaded["nested"].pop("t"), torch.arange(4))
    assert loaded == {"n": 3, "nested": {"text": "é", "none": None}, "list": [1.5, (2, 3)]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last"]


def test_a_failed_save_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / "last", {"net": network()}, {"n": 1})
    calls = []

    def full(_: int) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        save_checkpoint(tmp_path / "last", {"net": network()}, {"n": 2})
    assert load_state(tmp_path / "last") == {"n": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last"]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_rename_that_fails_keeps_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    save_checkpoint(tmp_path / "last", {"net": network()}, {"n": 1})
    real, calls = Path.replace, []

    def replace(self: Path, target: Path) -> Path:
        if self.is_dir():
            calls.append(self)
            if len(calls) == failing:
                raise PermissionError(13, "Permission denied")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(CheckpointError, match=r"cannot write the checkpoint .*last: Permission denied; chec"):
        save_checkpoint(tmp_path / "last", {"net": network()}, {"n": 2})
    assert load_state(tmp_path / "last") == {"n": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last"]


def test_recover_after_a_stop_between_the_renames(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last", {}, {"n": 1})
    (tmp_path / "last").rename(tmp_path / ".last.old")
    recover(tmp_path / "last")
    assert load_state(tmp_path / "last") == {"n": 1}
    save_checkpoint(tmp_path / ".last.old", {}, {"n": 0})
    save_checkpoint(tmp_path / ".last.new", {}, {"n": 2})
    recover(tmp_path / "last")  # nothing to mend: the newer one stays
    assert load_state(tmp_path / "last") == {"n": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last"]


@pytest.mark.parametrize("link", ["last", ".last.new", ".last.old"])
def test_nothing_is_written_or_removed_through_a_link(tmp_path: Path, link: str) -> None:
    save_checkpoint(tmp_path / "elsewhere", {"net": network()}, {"n": 0})
    before = {path: path.read_bytes() for path in (tmp_path / "elsewhere").iterdir()}
    (tmp_path / "checkpoints").mkdir()
    last = tmp_path / "checkpoints" / "last"
    last.with_name(link).symlink_to(tmp_path / "elsewhere")
    for n in (1, 2, 3):
        save_checkpoint(last, {"net": network()}, {"n": n})
        assert load_state(last) == {"n": n}
    assert {path: path.read_bytes() for path in (tmp_path / "elsewhere").iterdir()} == before
    assert [path.name for path in last.parent.iterdir()] == ["last"]
    assert not last.is_symlink()


def test_readers_use_what_lies_aside_and_write_nothing(tmp_path: Path) -> None:
    """Between the two renames of a living training, moving it back would break that training."""
    saved = network()
    save_checkpoint(tmp_path / "last", {"net": saved}, {})
    (tmp_path / "last").rename(tmp_path / ".last.old")
    assert is_saved(tmp_path / "last")
    assert not is_saved(tmp_path / "best")
    loaded = network()
    load_modules(tmp_path / "last", {"net": loaded})
    assert torch.equal(loaded[0].weight, saved[0].weight)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".last.old"]


def test_readers_of_a_living_training_see_one_checkpoint(tmp_path: Path) -> None:
    """Two networks that are always saved with the same values are never loaded with different ones."""

    def nets(value: float) -> dict[str, nn.Module]:
        made = {name: nn.Linear(2, 2) for name in ("a", "b")}
        for net in made.values():
            nn.init.constant_(net.weight, value)
        return made

    save_checkpoint(tmp_path / "best", nets(0.0), {})
    if (writer := os.fork()) == 0:
        try:
            for value in itertools.count(1):
                if (tmp_path / "enough").exists():
                    os._exit(0)
                save_checkpoint(tmp_path / "best", nets(value), {})
                time.sleep(0.01)  # else it may replace one checkpoint after the other while the reader waits
        finally:
            os._exit(1)
    seen = set()
    try:
        while len(seen) < 8:
            read = nets(-1.0)
            load_modules(tmp_path / "best", read)
            values = {float(weight) for net in read.values() for weight in net.weight.detach().flatten()}
            assert len(values) == 1
            seen |= values
    finally:
        (tmp_path / "enough").touch()
    assert os.waitpid(writer, 0)[1] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "enough"]


def test_weights_replaced_after_they_were_opened_are_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, read = network(), network()
    save_checkpoint(tmp_path / "best", {"net": saved}, {})

    @contextmanager
    def opened_then_removed(path: Path) -> Iterator[BinaryIO]:
        with regular_file(path) as file:
            path.unlink()
            yield file

    monkeypatch.setattr(checkpoint, "regular_file", opened_then_removed)
    checkpoint._load(tmp_path / "best", {"net": read})
    assert all(torch.equal(read.state_dict()[key], value) for key, value in saved.state_dict().items())


def test_another_architecture_is_named(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last", {"net": network(3)}, {})
    with pytest.raises(CheckpointError, match=r"0.weight is \(2, 3\) where \(2, 5\) was expected"):
        load_modules(tmp_path / "last", {"net": network(5)})
    with pytest.raises(CheckpointError, match=r"1 missing such as bias"):
        load_modules(tmp_path / "last", {"net": nn.ParameterDict({"bias": torch.ones(1)})})
    with pytest.raises(CheckpointError, match=r"cannot read the weights .*: No such file or directory; ch"):
        load_modules(tmp_path / "last", {"other": network()})


def test_a_state_with_code_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (Path(tmp_path / "sprung"),))  # type: ignore[return-value]

    (tmp_path / "last").mkdir()
    with (tmp_path / "last" / "state.pt").open("wb") as file:
        pickle.dump(Trap(), file)
    with pytest.raises(CheckpointError, match="cannot read"):
        load_state(tmp_path / "last")
    torch.save(Trap(), tmp_path / "last" / "state.pt")
    with pytest.raises(CheckpointError, match=r"asks for .* which may execute code"):
        load_state(tmp_path / "last")
    assert not (tmp_path / "sprung").exists()


def test_shared_weights_are_saved_and_come_back_shared(tmp_path):
    def tied():
        module = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 3), "b": torch.nn.Linear(3, 3)})
        module["b"].weight = module["a"].weight
        return module

    first, second = tied(), tied()
    save_checkpoint(tmp_path / "c", {"m": first}, {})
    load_modules(tmp_path / "c", {"m": second})
    assert second["b"].weight is second["a"].weight
    assert torch.equal(second["a"].weight, first["a"].weight)
    assert torch.equal(second["b"].bias, first["b"].bias)
