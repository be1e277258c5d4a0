"""The examples in the docstrings run; every public function that needs no GPU has one."""

import doctest
import importlib

import pytest

from robustcmr import transport

NEED_A_GPU = {"streamed_potentials"}


@pytest.mark.parametrize("name", sorted(transport.__all__))
def test_example(name):
    function = getattr(transport, name)
    module = importlib.import_module(function.__module__)
    found = doctest.DocTestFinder(recurse=False).find(function, name, module)
    examples = [example for test in found for example in test.examples]
    assert examples or name in NEED_A_GPU
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in found:
        runner.run(test)
    assert runner.failures == 0
