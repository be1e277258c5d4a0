"""Pieces of an audit as tasks of Ray: the same outcome, also where a worker is killed."""

from __future__ import annotations

import io
import os
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from robustcmr.errors import DataError, UserError
from robustcmr.jobs.audit_engines import LocalEngine, RayEngine, engine_of
from robustcmr.jobs.audit_run import run_audit
from robustcmr.terminal import Console


def test_a_missing_ray_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(UserError, match=r"needs the package ray; .* pip install 'robustcmr\[ray\]'"),
        engine_of("ray", None),
    ):
        pass


def test_a_missing_cluster_is_reported(monkeypatch):
    def init(**options):
        raise ConnectionError(f"nobody answers at {options['address']}\nand more")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False, init=init))
    for address, sentence in (
        (
            "10.0.0.1:6379",
            "no Ray cluster at 10.0.0.1:6379: nobody answers at 10.0.0.1:6379; check the address",
        ),
        (None, "cannot start Ray here: nobody answers at local; use --engine local"),
    ):
        with pytest.raises(UserError) as error, engine_of("ray", address):
            pass
        assert str(error.value).startswith(sentence)


def test_the_local_engine_works_in_order():
    done, counted = [], []
    LocalEngine().run(lambda item, tick: (done.append(item), tick(item)), [3, 1, 2], counted.append)
    assert done == counted == [3, 1, 2]


@pytest.fixture(scope="module")
def cluster():
    """A Ray of its own for this module, with two cores."""
    ray = pytest.importorskip("ray", reason="the test extra installs Ray where it has a wheel")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_ray_gives_the_same_files_though_a_worker_is_killed(cluster, made, tmp_path, monkeypatch):
    cluster.cloudpickle.register_pickle_by_value(made)
    folder = made.write(tmp_path / "data", *made.make())
    console, killed = Console(file=io.StringIO()), tmp_path / "killed"
    settings = made.settings(engine="ray")
    run_audit(made.given(folder), made.settings(), tmp_path / "local", console, command="x")
    given = made.given(folder)
    dying = made.replace(
        given, mathematics=made.replace(given.mathematics, score=DiesOnce(made.score, killed))
    )
    run_audit(dying, settings, tmp_path / "ray", console, command="x")
    assert killed.read_text() != str(os.getpid())
    assert made.outcome(tmp_path / "ray") == made.outcome(tmp_path / "local")
    assert cluster.is_initialized()  # it was not started by the audit


class DiesOnce:
    """Kills its own process, by -9, the first time that any process scores."""

    def __init__(self, score, mark):
        self._score, self._mark = score, mark

    def __call__(self, *arguments):
        try:
            with self._mark.open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            return self._score(*arguments)
        psutil.Process().kill()
        time.sleep(60)
        return None


@pytest.mark.slow
def test_an_error_of_a_piece_is_told_in_its_own_words(cluster):
    def fail(item, tick):
        raise DataError(f"the vectors of {item} are torn")

    with pytest.raises(DataError, match="the vectors of 5 are torn"):
        RayEngine(cluster).run(fail, [5, 6, 7], lambda count: None)
