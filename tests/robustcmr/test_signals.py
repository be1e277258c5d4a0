"""Signals reach the watch within its block, and the old handler afterwards."""

import os
import signal
import threading

import pytest

from robustcmr.signals import SignalWatch


class Noted(SignalWatch):
    def __init__(self, *numbers):
        super().__init__(numbers)
        self.seen = []

    def _note(self, number, _frame):
        self.seen.append(number)


@pytest.fixture
def usual():
    """Signals that reached the handler outside of the watch."""
    seen = []
    previous = {
        number: signal.signal(number, lambda n, _: seen.append(n))
        for number in (signal.SIGUSR1, signal.SIGUSR2)
    }
    yield seen
    for number, handler in previous.items():
        signal.signal(number, handler)


def test_signals_are_noted_within_the_block_alone(usual):
    with Noted(signal.SIGUSR1) as watch:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR2)  # not watched
    os.kill(os.getpid(), signal.SIGUSR1)
    assert watch.seen == [signal.SIGUSR1]
    assert usual == [signal.SIGUSR2, signal.SIGUSR1]


def test_the_old_handler_comes_back_after_an_error(usual):
    with pytest.raises(ValueError, match="inside"), Noted(signal.SIGUSR1):
        raise ValueError("inside")
    os.kill(os.getpid(), signal.SIGUSR1)
    assert usual == [signal.SIGUSR1]


def test_other_threads_change_no_handlers(usual):
    before = signal.getsignal(signal.SIGUSR1)
    during = []

    def work():
        with Noted(signal.SIGUSR1):
            during.append(signal.getsignal(signal.SIGUSR1))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert during == [before]
    assert usual == []
