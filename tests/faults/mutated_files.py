"""Damage small files of every kind that is read, and let each reader have its copy.

    python tests/faults/mutated_files.py [FILES] [SEED]

Whatever is done to a file, its reader reads it or raises a ``UserError`` or ``NoiseError`` of one sentence.
Any other exception, a crash, 20 seconds or 8 GiB of address space are a failure: it is printed, and the file
is kept.
"""

from __future__ import annotations

import importlib.util
import json
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import scipy.sparse
import torch
from PIL import Image
from torch import nn

from noise_injection import (
    load_label_noise,
    load_noise,
    make_label_noise,
    make_mismatch,
    save_label_noise,
    save_noise,
)
from noise_injection.apply import read_captions as read_noise_captions
from noise_injection.checks import NoiseError
from noise_injection.commands import data_of
from noise_injection.files import read_array as read_noise_array, read_noise_file
from robustcmr.config.resolve import apply_overrides, read_config, resolve, run_config
from robustcmr.conversion.reading import read_checkpoint
from robustcmr.data.array_files import array_names, read_array
from robustcmr.data.cache import is_whole
from robustcmr.data.captions import read_captions, read_captions_tsv, read_ids
from robustcmr.data.images import broken_pictures
from robustcmr.data.label_columns import read_class_names
from robustcmr.data.labelled import Labelled
from robustcmr.data.labelled_layout import read_split_file
from robustcmr.data.store import NpyFeatures
from robustcmr.data.vocabulary import Vocabulary
from robustcmr.environment import describe_environment
from robustcmr.errors import ConfigError, SweepError, UserError
from robustcmr.files import write_json, write_text
from robustcmr.jobs.embeddings import VectorWriter, read_vectors
from robustcmr.locks import describe_owner
from robustcmr.matchers.encoders.word_vectors import read_word_vectors
from robustcmr.reporting.card import model_card
from robustcmr.reporting.comparison import compare
from robustcmr.reporting.run_page import Extras, run_page
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.inputs import Preparation, RunInputs
from robustcmr.runs.labels_table import LabelsTable
from robustcmr.runs.pairs_table import PairsTable
from robustcmr.runs.queries import read_queries, write_queries
from robustcmr.runs.read import read_run
from robustcmr.sweeps.folder import SweepFolder
from robustcmr.sweeps.options import read_sweep
from robustcmr.sweeps.progress import standings
from robustcmr.sweeps.trials import plan_trials
from robustcmr.training.checkpoint import load_modules, load_state, save_checkpoint
from robustcmr.training.state import TrainingState
from robustcmr.types import DataSpec

SECONDS, MEMORY = 20, 8 * 2**30
ROOT = Path(__file__).resolve().parents[1]

HOSTILE = (
    *(
        "null",
        "true",
        "{}",
        "[]",
        "[1]",
        '"x"',
        "-1",
        "0",
        "1.5",
        "NaN",
        "Infinity",
        "1e400",
        "-0.0",
        "2e308",
    ),
    *(str(2**63), str(2**70), "9" * 5000, '"\\ud800"', '"\\u0000"', '"../.."', '""', '"' + "x" * 5000 + '"'),
    *("[" * 100, "[" * 100_000, '{"a":' * 70 + "1" + "}" * 70, "*a", "&a [*a]", "!!bool x", "!!timestamp x"),
    *("\t", "\n", "\r", "\0", "\x1b[31m", "‮", "=1+1", "-", ":", ",", ";", "'", "~", "2024-13-01", "a b c d"),
)
"""Replacements of a token in a text file."""


def mutated(content: bytes, text: bool, chance: random.Random) -> bytes:
    """Damage a file once or a few times."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        content = chance.choice([_swap_token, *_BINARY] if text else _BINARY)(content, chance)
    return content


def _flip_bits(content: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 3, 20))):
        if damaged:
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def _set_bytes(content: bytes, chance: random.Random) -> bytes:
    at, size = chance.randrange(len(content) + 1), chance.choice((1, 2, 4, 8))
    filling = chance.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * size
    return content[:at] + filling + content[at + size :]


def _truncate(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def _insert(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content) + 1)
    return content[:at] + chance.randbytes(chance.choice((1, 2, 7, 300))) + content[at:]


def _repeat_slice(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content) + 1)
    part = content[start : start + chance.choice((1, 8, 64, 512))]
    return content[:start] + part * chance.choice((2, 3, 50)) + content[start:]


def _drop_slice(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content) + 1)
    return content[:start] + content[start + chance.choice((1, 8, 64)) :]


def _swap_slices(content: bytes, chance: random.Random) -> bytes:
    size = chance.choice((1, 4, 16))
    a, b = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    if a + size > b:
        return content
    return (
        content[:a]
        + content[b : b + size]
        + content[a + size : b]
        + content[a : a + size]
        + content[b + size :]
    )


def _swap_token(content: bytes, chance: random.Random) -> bytes:
    tokens = re.findall(rb'"[^"\n]*"|[\w.+-]+|\s+|.', content, re.DOTALL)
    words = [at for at, token in enumerate(tokens) if token.strip()]
    if not words:
        return content
    at = chance.choice(words)
    other = chance.choice(HOSTILE).encode("utf-8", "surrogatepass")
    tokens[at] = tokens[chance.choice(words)] if chance.random() < 0.3 else other
    return b"".join(tokens)


_BINARY = (_flip_bits, _set_bytes, _truncate, _insert, _repeat_slice, _drop_slice, _swap_slices)


Reader = Callable[[Path], Any]


class Specimens:
    """A small file of each kind in a folder, each with the reader of its kind."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.readers: dict[str, tuple[bool, Reader]] = {}  # whether it is text, and its reader, by file
        self._runs()
        self._inputs()
        self._sweep()
        self._checkpoints()
        self._noise()
        self._texts()
        self._arrays()
        self._pictures()

    def add(self, name: str, text: bool, reader: Reader) -> None:
        assert (self.root / name).is_file()
        self.readers[name] = text, reader

    def _runs(self) -> None:
        spec = importlib.util.spec_from_file_location("run_fixtures", ROOT / "robustcmr" / "conftest.py")
        assert spec is not None
        assert spec.loader is not None
        fixtures = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(fixtures)
        findings = {
            **{"reason": "two groups", "suspected": 0.4, "noise_rate": 0.4, "noise_interval": [0.3, 0.5]},
            "division": {"precision": 0.9, "recall": 0.8, "noise_rate_true": 0.4},
        }
        pairs = fixtures.fake_results(findings=findings)
        measures = {
            **{"map": 40.0, "map_i2t": 41.0, "map_t2i": 39.0, "map_at_50": 50.0, "map_i2t_at_50": 51.0},
            **{
                "scopes": [1, 5],
                "precision_i2t": [60.0, 50.0],
                "precision_t2i": [61.0, 52.0],
                "n_texts": 400,
            },
        }
        labels = fixtures.fake_results(
            **{"data": "scenes-labels", "matcher": "two_tower", "method": "uot_rcl", "track": "labels"},
            **{
                "noise_kind": "symmetric",
                "protocol": "shared",
                "splits": {"dev": measures, "test": measures},
            },
            findings={"changed": 0.4, "confidence": 0.6, "correction": {"given_accuracy": 0.4}},
        )
        for name, results in (("pairs", pairs), ("labels", labels)):
            fixtures.write_run(self.root / name, results)
            folder = RunFolder(self.root / name)
            parts = {key: {"name": results[key]} for key in ("data", "matcher", "method")}
            config = resolve({**parts, "noise": {"ratio": 0.4}})
            write_text(folder.config, config.to_yaml())
            write_json(folder.environment, describe_environment())
            rows = [
                {
                    **{"epoch": epoch, "loss": 3.0 / epoch, "pair_loss": 1.0 / epoch, "lr": 0.1, "steps": 9},
                    **{"seconds": 1.5, "pairs_seen": 90, "suspected": 0.4, "solver_error": 1e-6},
                    "division": {"precision": 0.5, "recall": 0.4 * epoch, "noise_rate_true": 0.4},
                    "rematch": {"plan": 0.1, "chance": 0.05, "mass": 0.2},
                    "correction": {"given_accuracy": 0.4, "corrected_accuracy": 0.3 * epoch},
                    "dev": results["splits"]["dev"],
                }
                for epoch in (1, 2)
            ]
            folder.write_metrics(rows)
            for file in (folder.results, folder.config, folder.environment, folder.metrics):
                self.add(f"{name}/{file.name}", True, read_all_of_run)
        n = 6
        captions, names = [f"caption, {i}" for i in range(n)], [f"i{i}" for i in range(n)]
        ints, reals = np.arange(n), np.linspace(0, 1, n)
        PairsTable(
            *(
                ints,
                captions,
                ints,
                names,
                reals,
                reals,
                ints % 2 == 0,
                ints[::-1].copy(),
                names,
                reals,
                reals,
            )
        ).write(self.root / "pairs/pairs.csv")
        self.add("pairs/pairs.csv", True, PairsTable.read)
        LabelsTable(ints, ints % 2, ints % 3, reals, ("a", "b", "c"), ints % 3, reals, captions).write(
            self.root / "labels/labels.csv"
        )
        self.add("labels/labels.csv", True, LabelsTable.read)
        ranks = {"i2t_rank": ints[:3] + 1, "t2i_rank": ints + 1, "t2i_image": ints // 2}
        write_queries(self.root / "pairs/queries-test.npz", ranks)
        self.add("pairs/queries-test.npz", False, read_queries)
        precisions = {"i2t_ap": reals, "t2i_ap": reals}
        write_queries(self.root / "labels/queries-test.npz", precisions)
        self.add("labels/queries-test.npz", False, read_queries)
        Vocabulary.build(captions).save(self.root / "pairs/vocabulary.json")
        self.add(
            "pairs/vocabulary.json", True, lambda path: list(Vocabulary.load(path).encode_many(captions))
        )

    def _inputs(self) -> None:
        inputs = RunInputs(DataSpec(3, 1, 9, 7), True, Preparation((0.1, 2.0), (1.0, 3e-8)))
        inputs.write(self.root / "inputs.json")
        self.add("inputs.json", True, RunInputs.read)
        parts = [(np.ones((3, 2), np.float32), ["a", "a dog", "b"])]
        VectorWriter(self.root / "vectors", "texts").write(iter(parts), {"model": "m", "run": "runs/a"})
        for ending in ("json", "npy", "txt"):
            self.add(f"vectors/texts.{ending}", ending != "npy", read_saved_vectors)

    def _sweep(self) -> None:
        (self.root / "mine.yaml").write_text(
            "base: {data: scenes, training: {epochs: 3}}\ngrid: {noise.ratio: [0.2, 0.4]}\nseeds: [0, 1]\n"
        )
        self.add("mine.yaml", True, lambda path: plan_trials(read_sweep(str(path)), "it"))
        options = read_sweep(str(self.root / "mine.yaml"))
        folder = SweepFolder(self.root / "sweep")
        for name in folder.write_plan(options, plan_trials(options, "it")):
            folder.note(name, "failed", 1.5, "no memory")
        write_json(folder.trial_lock("a"), {"pid": 1, "host": "here", "since": "2024-01-01"})
        self.add("sweep/trials.jsonl", True, lambda path: standings(SweepFolder(path.parent)))
        self.add("sweep/sweep.yaml", True, lambda path: SweepFolder(path.parent).read_options())
        self.add("sweep/locks/a.lock", True, describe_owner)
        shutil.copy(folder.config(next(iter(folder.read()))), self.root / "recipe.yaml")
        self.add("recipe.yaml", True, lambda path: resolve(read_config(path)))
        (self.root / "value.txt").write_text("{name: omit, dim: 16}")
        self.add("value.txt", True, read_override)

    def _checkpoints(self) -> None:
        folder = self.root / "last"
        network = {"matcher_0": nn.Linear(3, 2)}
        save_checkpoint(
            folder, network, {"training": TrainingState().to_dict(), "method": {"a": torch.ones(3)}}
        )
        self.add("last/state.pt", False, lambda path: load_state(path.parent))
        self.add("last/matcher_0.safetensors", False, lambda path: load_modules(path.parent, network))
        torch.save({"model": network["matcher_0"].state_dict(), "epoch": 3}, self.root / "new.pth.tar")
        self.add("new.pth.tar", False, read_checkpoint)
        old = {"model": [{"w": torch.ones(4, 4)}], "opt": {"lr": 0.1}}
        torch.save(old, self.root / "old.pth.tar", _use_new_zipfile_serialization=False)
        self.add("old.pth.tar", False, read_checkpoint)

    def _noise(self) -> None:
        truth = np.arange(40) // 5
        index, record = make_mismatch(truth, 8, 0.4, "caption", seed=0)
        for name in ("noise.npz", "noise.npy"):
            save_noise(self.root / name, index, record)
            self.add(name, False, lambda path: read_pairs(path, truth))
        given, label_record = make_label_noise(np.arange(20) % 4, 4, 0.4, "symmetric", seed=0)
        save_label_noise(self.root / "given.npz", given, label_record)
        self.add("given.npz", False, lambda path: load_label_noise(path, np.arange(20) % 4, 4))
        np.save(self.root / "truth.npy", truth)
        self.add("truth.npy", False, lambda path: (read_noise_array(path, "x"), data_of(None, None, path)))

    def _texts(self) -> None:
        lines = "".join(f"a picture of {i} dogs\n" for i in range(6))
        texts: dict[str, tuple[str, Reader]] = {
            "caps.txt": (lines, lambda path: (read_captions(path), read_noise_captions(path))),
            "ids.txt": ("".join(f"{i}\n" for i in range(6)), read_ids),
            "caps.tsv": ("".join(f"{i}.jpg\ta dog\n" for i in range(6)), read_captions_tsv),
            "class_names.txt": ("art\nbiology\nsport\n", read_class_names),
            "split.txt": ("train\ntrain\ndev\n-\ntest\n", read_split_file),
            "vectors.txt": (
                "3 4\na 1 2 3 4\ndog 0.1 0.2 0.3 0.4\ncat 1 0 1 0\n",
                lambda path: read_word_vectors(path, ("<pad>", "a", "dog"), 4),
            ),
        }
        for name, (text, reader) in texts.items():
            (self.root / name).write_text(text, encoding="utf-8")
            self.add(name, True, reader)
        cache = self.root / "cache"
        write_text(cache / "a.txt", "a")
        write_json(cache / "manifest.json", {"a.txt": [1, "0" * 64]})
        self.add("cache/manifest.json", True, lambda path: is_whole(path.parent))

    def _arrays(self) -> None:
        chance = np.random.default_rng(0)
        np.save(self.root / "features.npy", chance.normal(size=(6, 3, 4)).astype(np.float32))
        self.add("features.npy", False, lambda path: NpyFeatures(path).take(np.arange(2)))
        labels = np.arange(12) % 3
        arrays = {"image": chance.normal(size=(12, 5)), "text": chance.normal(size=(12, 4)), "label": labels}
        arrays = {name: array.astype(np.float32) for name, array in arrays.items()} | {"label": labels}
        for folder, suffix in (
            ("npz", "npz"),
            ("packed", "npz"),
            ("mat", "mat"),
            ("zipped", "mat"),
            ("h5", "h5"),
        ):
            (self.root / folder).mkdir()
            path = self.root / folder / f"train.{suffix}"
            if suffix == "npz":
                (np.savez if folder == "npz" else np.savez_compressed)(path, **arrays)
            elif suffix == "mat":
                scipy.io.savemat(path, arrays, do_compression=folder == "zipped")
            else:
                with h5py.File(path, "w") as file:
                    for name, array in arrays.items():
                        file[name] = array
            self.add(f"{folder}/{path.name}", False, read_labelled)
        sparse = scipy.sparse.csc_matrix(np.eye(5))
        scipy.io.savemat(self.root / "sparse.mat", {"a": sparse})
        self.add("sparse.mat", False, lambda path: read_array(path, "a"))
        scipy.io.savemat(self.root / "four.mat", {"a": np.eye(5)}, format="4")
        self.add("four.mat", False, lambda path: read_array(path, "a"))
        np.savez(self.root / "splits.npz", train=np.arange(4), dev=np.arange(4, 6))
        self.add("splits.npz", False, read_split_file)

    def _pictures(self) -> None:
        for name in ("a.png", "a.jpg"):
            Image.new("RGB", (9, 7), (200, 10, 10)).save(self.root / name)
            self.add(name, False, lambda path: broken_pictures(path.parent, [path.name]))


def read_all_of_run(path: Path) -> None:
    """Read a run as eval, report, card and compare do."""
    saved = read_run(path.parent, finished=False)
    run_page(saved, Extras())
    if saved.finished:
        model_card(saved)
        compare([saved], "test")
    run_config(RunFolder(path.parent).config)


def read_saved_vectors(path: Path) -> None:
    vectors, names, _ = read_vectors(path.parent, "texts")
    assert len(vectors.sum(1)) == len(list(names))


def read_pairs(path: Path, truth: Any) -> None:
    noise = read_noise_file(path)
    data_of(None, None, None, noise)
    load_noise(path, truth, 8)


def read_override(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", "surrogateescape").replace("\0", "")
    resolve(apply_overrides({}, [f"matcher={text}"]))


def read_labelled(path: Path) -> None:
    array_names(path)
    data = Labelled(Labelled.Config(root=path.parent))
    data.split("train")
    data.fingerprint("train")


def offend(path: Path, reader: Reader) -> str | None:
    """Return how a reader failed, or None."""
    signal.alarm(SECONDS)
    try:
        reader(path)
    except (UserError, NoiseError) as error:
        several = isinstance(error, (ConfigError, SweepError))  # they list all problems, one a line
        if not str(error) or (len(str(error).splitlines()) > 1 and not several):
            return f"a message of {len(str(error).splitlines())} lines: {str(error)[:300]!r}"
    except BaseException:
        return traceback.format_exc()
    finally:
        signal.alarm(0)
    return None


def failures(files: int, seed: int, keep: Path) -> Iterator[str]:
    """Yield every failure among so many damaged files; those files are copied to ``keep``."""
    with tempfile.TemporaryDirectory() as folder:
        specimens = Specimens(Path(folder))
        ways = {(reader, Path(name).parent): name for name, (_, reader) in specimens.readers.items()}
        for (reader, _), name in ways.items():
            if (found := offend(specimens.root / name, reader)) is not None:
                yield f"{name}, undamaged: {found}"
        names = sorted(specimens.readers)
        for number in range(files):
            chance = random.Random(f"{seed} {number}")
            name = names[number % len(names)]
            text, reader = specimens.readers[name]
            path = specimens.root / name
            whole = path.read_bytes()
            try:
                path.write_bytes(mutated(whole, text, chance))
                print(number, name, file=sys.stderr)  # the last line names the file of a crash
                if (found := offend(path, reader)) is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, kept := keep / f"{number}-{path.name}")
                    yield f"{kept}: {found}"
            finally:
                path.write_bytes(whole)


def main() -> int:
    files, seed = map(int, [*sys.argv[1:], *("3000", "0")[len(sys.argv) - 1 :]])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError("it took too long")))
    warnings.simplefilter("ignore")
    count = 0
    for found in failures(files, seed, Path(tempfile.gettempdir()) / "robustcmr-mutated"):
        count += 1
        print(found)
    print(json.dumps({"files": files, "failures": count}))
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
