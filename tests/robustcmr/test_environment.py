"""What a run ran on."""

import json
import os
import platform
import sys
from pathlib import Path

import torch

from robustcmr.environment import describe_environment, processor_name


def test_facts_of_this_machine(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/robustcmr", "train", "--noise", "0.4"])
    facts = describe_environment()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["python"] == platform.python_version()
    assert facts["packages"]["torch"] == torch.__version__
    assert facts["cores"] == os.cpu_count()
    assert facts["memory_gib"] > 0
    assert len(facts["gpus"]) == torch.cuda.device_count()
    assert facts["command"] == ["robustcmr", "train", "--noise", "0.4"]


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("robustcmr.environment.PACKAGES", ("no-such-package-at-all",))
    assert describe_environment()["packages"] == {"no-such-package-at-all": None}


def test_the_processor_of_a_system_without_proc(monkeypatch):
    def missing(*args, **kwargs):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert processor_name() == platform.machine()


def test_the_processor_of_a_system_with_proc(monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda *a, **k: "vendor_id : x\nmodel name\t: Some CPU: 3 GHz\n")
    assert processor_name() == "Some CPU: 3 GHz"
