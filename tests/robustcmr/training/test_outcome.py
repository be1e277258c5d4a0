"""When a training is said to have learned nothing, or to have ended within its warm-up."""

import pytest

from robustcmr.evaluation.chance import Chance
from robustcmr.training.outcome import training_warnings, warm_up_warnings

CHANCE = Chance(12.0, 3.0)


def warned(scores, losses=None, lr=1000.0):
    losses = [2.0] * len(scores) if losses is None else losses
    rows = [{"epoch": epoch, "loss": loss} for epoch, loss in enumerate(losses, 1)]
    return training_warnings(rows, scores, "dev", CHANCE, lr)


@pytest.mark.parametrize("scores", [[18.1], [0.0, 18.1], [400.0, 30.0], [30.0, 29.0, 28.0, 18.01]])
def test_a_training_that_ends_above_chance_is_not_warned_of(scores):
    assert warned(scores, [1.0] * (len(scores) - 1) + [1e9]) == []


def test_a_training_without_an_epoch_is_not_warned_of():
    assert warned([]) == []


def test_nothing_was_learned():
    assert warned([0.0, 3.0, 0.0], [2.0, 5.0, 4e5]) == [
        "no epoch scored above chance on dev: the best is 3.0, where random scores give 12.0 ± 3.0; the loss "
        "grew from 2 in the first epoch to 4e+05 in the last; train longer, try another learning "
        "rate, such as --set optim.lr=0.002 (it was 1000), or check the data"
    ]
    assert "loss" not in warned([18.0], lr=1e-9)[0]


@pytest.mark.parametrize("lr", [0.002, 0.0020000001])
def test_the_learning_rate_to_try_is_another_one(lr):
    assert "such as --set optim.lr=0.0002 (it was 0.002)" in warned([0.0], lr=lr)[0]


def test_what_was_learned_was_lost():
    (sentence,) = warned([250.0, 260.0, 2.0])
    assert sentence.startswith(
        "the score on dev fell to chance: 2.0 in the last epoch, where random scores give 12.0 ± 3.0; the "
        "weights kept are of epoch 2 with 260.0; train longer, try"
    )


@pytest.mark.parametrize(("epochs", "warm_up"), [(5, 4), (1, 0)])
def test_a_training_that_went_beyond_its_warm_up_is_not_warned_of(epochs, warm_up):
    assert warm_up_warnings("robust", epochs, warm_up) == []


def test_a_training_that_ended_within_its_warm_up():
    assert warm_up_warnings("robust", 2, 4) == [
        "robust was trained for 2 epochs and its warm-up takes 4 (method.warmup_epochs), so training never "
        "got past the warm-up and the result does not show what the method does against noise; train longer, "
        "such as --epochs 8, or shorten the warm-up with --set method.warmup_epochs=1"
    ]
    assert len(warm_up_warnings("robust", 4, 4)) == 1
    (sentence,) = warm_up_warnings("uot_rcl", 1, 10)
    assert sentence.startswith("uot_rcl was trained for 1 epoch and")
    assert sentence.endswith("such as --epochs 20")  # no shorter warm-up leaves an epoch after it
