"""What two processes run for the tests: every matcher, sharded, against the same one alone. Prints JSON."""

import copy
import importlib
import json
import sys
from dataclasses import fields, replace
from pathlib import Path

import torch
from torch import distributed

from robustcmr import plugins
from robustcmr.losses.cross_entropy import infonce_loss
from robustcmr.testing.samples import sample_images, sample_spec, sample_texts
from robustcmr.training import processes
from robustcmr.training.sharding import shard, sum_gradients

TASKS = Path("/proc/self/task")


def made(name, **options):
    spec = sample_spec(text_width=6 if name in ("embeddings", "two_tower") else None)
    cls = plugins.matchers.load(name)
    known = {key: value for key, value in options.items() if key in cls.Config.model_fields}
    torch.manual_seed(0)
    return cls(cls.Config(**known), spec).train().double(), spec


def double(batch):
    """The batch with its features or vectors in float64, so that only a real difference is seen."""
    floating = {
        field.name: value.double()
        for field in fields(batch)
        if isinstance(value := getattr(batch, field.name), torch.Tensor) and value.is_floating_point()
    }
    return replace(batch, **floating)


def step(matcher, spec, n):
    """Loss, gradients and buffers of one step of one epoch, and scores in evaluation."""
    images, texts = double(sample_images(spec, n, 1)), double(sample_texts(spec, n, 2))
    loss = infonce_loss(matcher(images, texts), 0.05).mean()
    loss.backward()
    sum_gradients([matcher] if type(matcher).__name__.startswith("Sharded") else [])
    gradients = {name: p.grad for name, p in matcher.named_parameters() if p.grad is not None}
    matcher.eval()
    with torch.inference_mode():
        scores = matcher(images, texts)
    return {"loss": loss.detach(), "scores": scores, **gradients, **dict(matcher.named_buffers())}


def relative(found, expected):
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-3))


def compare(name, n, **options):
    matcher, spec = made(name, **options)
    alone = step(copy.deepcopy(matcher), spec, n)
    shared = step(shard(matcher), spec, n)
    assert shared.keys() == alone.keys()
    return {key: relative(shared[key].double(), alone[key].double()) for key in alone}


def main():
    distributed.init_process_group("gloo")
    report = {}
    for name in sys.argv[1].split(","):
        for n in (9, 3):  # parts of unequal size, and a batch too small to cut
            found = compare(name, n, dropout=0.0, attention_dropout=0.0, word_dropout=0.0)
            report[f"{name} {n}"] = max(found.items(), key=lambda item: item[1])
    report["agreed"] = processes.largest(3 + processes.rank())
    report["told"] = processes.as_the_writer_says({"rank": processes.rank()})
    report["dropout"] = dropout()
    held = [None, None]
    distributed.all_gather_object(held, report)
    if processes.is_writer():
        print("REPORT " + json.dumps(held))
    importlib.import_module("torch._dynamo")  # as torch.compile does while the group exists
    processes.leave()
    assert processes.count() == 1
    if TASKS.is_dir():  # Linux: no thread of the group is left to abort the exit
        names = [(task / "comm").read_text().strip() for task in TASKS.iterdir()]
        assert not [name for name in names if "gloo" in name], names


def dropout():
    """Masks of two steps by process, and what is drawn afterwards by all."""
    matcher, spec = made("two_tower", dropout=0.5)
    matcher = shard(matcher)
    torch.manual_seed(1)
    sides = [matcher.encode_images(double(sample_images(spec, 8, 1))).pooled.tolist() for _ in range(2)]
    return {"sides": sides, "next": float(torch.rand(()))}


if __name__ == "__main__":
    main()
