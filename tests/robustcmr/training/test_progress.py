"""Lines within long epochs where no bar can be drawn, such as in the log of a batch job."""

import io
from types import SimpleNamespace

from rich.console import Console

from robustcmr.training import progress
from robustcmr.training.progress import LINE_EVERY, TrainingProgress


def lines_of(monkeypatch, seconds_a_step, steps, first=0):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    shown = io.StringIO()
    with TrainingProgress(Console(file=shown, width=100), 7) as bar:
        for epoch in range(2):
            bar.begin_epoch(epoch, steps, first if epoch == 0 else 0)
            for step in range(first if epoch == 0 else 0, steps):
                clock.now += seconds_a_step
                bar.step(2.0 + step, 1234.5)
    return shown.getvalue().splitlines()


def test_a_long_epoch_says_where_it_is(monkeypatch):
    lines = lines_of(monkeypatch, LINE_EVERY / 2, 5, first=1)
    assert lines == [
        "epoch 1/7  step 3/5  loss 4.000  1,234 pairs/s",
        "epoch 1/7  step 5/5  loss 6.000  1,234 pairs/s",
        "epoch 2/7  step 2/5  loss 3.000  1,234 pairs/s",
        "epoch 2/7  step 4/5  loss 5.000  1,234 pairs/s",
    ]


def test_short_epochs_say_nothing(monkeypatch):
    assert lines_of(monkeypatch, LINE_EVERY / 100, 50) == []
