"""What README and docs show works: snippets and commands of a page run in its order, on tiny data.

The Python blocks of a page share one namespace. Its ``robustcmr`` commands run in one folder that has tiny
data of every layout as ``DIR`` and the other inputs that pages name; trainings are shortened. Commands inside
a sentence, and those in ``PARSED_ONLY``, are parsed and not run. A comment before a block leaves it out and
says why: ``<!-- not run: needs a GPU -->``. Tables have tests/scripts/test_page_tables.py.
"""

import ast
import io
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.main import get_command

from noise_injection.cli import main as make_noise

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("scripts/results/*.md"), *sorted(ROOT.glob("docs/**/*.md")))
]
SHARED = [ROOT / "scripts" / name for name in ("run_table.py", "leaderboard.py", "benchmarks/common.py")]
"""Where options of scripts are defined besides the scripts themselves."""

SHORTER = ("training.epochs=1", "training.batch_size=32", "training.workers=0")
ENCODER = ("training.epochs=2", "data.n_train=200", "optim.lr=0.002", "matcher.dim=32")
"""Enough for vectors that an audit does not refuse, of the training whose run makes vectors of other data."""

PARSED_ONLY = {
    "convert": "needs a released checkpoint",
    "sweep": "dozens of runs; tests/end_to_end/test_sweep.py runs a small one",
    "review": "serves a page until Ctrl-C, but for the subcommands in REVIEW",
}
REVIEW = ("export", "import", "status")
BLOCK = re.compile(
    r"(?:<!-- (?P<skip>not run: \S.*?) -->\n+)?"
    r"(?:^```(?P<language>\S*)[^\n]*\n(?P<fenced>.*?)^```$|(?<=\n\n)(?P<indented>(?: {4}\S[^\n]*\n)+))",
    re.M | re.S,
)

TEXT = re.compile(r"^```text\n(?:(?!```).*\n)*\Z", re.M)
"""The end of a page that breaks off within a block of text."""


@dataclass(frozen=True)
class Block:
    """A block of code on a page; ``line`` is that of its first line, from 1."""

    page: str
    line: int
    python: bool
    text: str
    file: str | None

    def commands(self):
        """(line, words) of each command, without prompts, comments and ellipses."""
        for line, text in enumerate(self.text.splitlines(), self.line):
            words = shlex.split(text.replace("…", ""), comments=True)
            if words:
                yield line, words


def blocks(page, source):
    """The blocks of a page that are to be run."""
    for found in BLOCK.finditer(source):
        language, indented = found["language"], found["indented"]
        if found["skip"] or (indented is None and language not in ("", "python", "bash", "console")):
            continue
        text = found["fenced"] if indented is None else re.sub("^ {4}", "", indented, flags=re.M)
        line = source.count("\n", 0, found.start("fenced" if indented is None else "indented")) + 1
        # "Put this into `my_matcher.py`:" just before the block
        file = re.search(r"into\s+`(\w+\.py)`:\s*$", source[: found.start()])
        yield Block(page, line, language == "python", text, file and file[1])


def inline_commands(source):
    """(line, words) of each command in a sentence or a block of text; of `a|b` the first, help for a name."""
    for found in re.finditer(r"(?<!`)`(robustcmr \w[^`]*)`(?!`)|^(robustcmr \w.*)$", source, re.M):
        if found[2] and not TEXT.search(source[: found.start()]):
            continue
        text = re.sub(r"\|[\w|]+|…| > [\w.]+\.\w+$", "", found[1] or found[2])
        words = shlex.split(text)
        yield source.count("\n", 0, found.start()) + 1, [*words, "--help"] if len(words) == 2 else words


@cache
def parser():
    """The command line, of which nothing but the parsing is done."""
    from robustcmr.cli.main import app

    def disarm(command):
        if not hasattr(command, "commands"):
            command.callback = lambda **_: None
            return
        command.list_commands(None)  # some make their commands at first use
        for part in command.commands.values():
            disarm(part)

    command = get_command(app)
    disarm(command)
    return command


def parsed(words):
    """Exit code and messages of a command line that is parsed and not run."""
    return quietly(lambda: parser()(args=words[1:], prog_name="robustcmr"))


def quietly(program):
    """Exit code of a program run in this process, and all it wrote."""
    written = io.StringIO()
    with redirect_stdout(written), redirect_stderr(written):
        try:
            program()
        except SystemExit as stop:
            return stop.code or 0, written.getvalue()
    return 0, written.getvalue()


def write_pictures(place, sizes):
    """Picture files and their captions, one each."""
    (place / "images").mkdir()
    rng = np.random.default_rng(0)
    for split, n in sizes.items():
        rows = []
        for i in range(n):
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / "images" / f"{split}{i}.png")
            rows += [f"{split}{i}.png\ta red circle {caption}\n" for caption in range(5)]
        (place / f"{split}_caps.tsv").write_text("".join(rows), encoding="utf-8")


def write_pairs(root):
    """Pairs in two parquet files, ``web``, and their vectors as clip-retrieval writes them, ``clip_out``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    images = rng.normal(size=(300, 32)).astype(np.float32)
    texts = images + 0.5 * rng.normal(size=images.shape).astype(np.float32)
    for folder in ("web", "clip_out/img_emb", "clip_out/text_emb", "clip_out/metadata"):
        (root / folder).mkdir(parents=True)
    for part in range(2):
        rows = range(150 * part, 150 * (part + 1))
        columns = {
            "uid": [f"{row:032x}" for row in rows],
            "url": [f"https://example.org/{row}.jpg" for row in rows],
            "caption": [f"a picture with the number {row}" for row in rows],
            "width": list(rows),
        }
        pq.write_table(pa.table(columns), root / "web" / f"{part}.parquet")
        pq.write_table(pa.table(columns), root / "clip_out" / "metadata" / f"metadata_{part}.parquet")
        np.save(root / "clip_out" / "img_emb" / f"img_emb_{part}.npy", images[rows])
        np.save(root / "clip_out" / "text_emb" / f"text_emb_{part}.npy", texts[rows])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, make_folder, make_labelled_folder, clip_folder, bert_folder):
    """A folder with everything that the pages' commands read."""
    root = tmp_path_factory.mktemp("inputs")
    place = root / "DIR"
    sizes = {"train": 60, "dev": 12, "test": 12}  # 300 captions, as many as the scenes have here
    make_folder(place, sizes)
    make_labelled_folder(place, {"train": 150, "dev": 20, "test": 20})
    shutil.copytree(clip_folder, place / "clip-vit-base-patch32")
    shutil.copytree(bert_folder, place / "bert-base-uncased")
    write_pictures(place, sizes)
    write_pairs(root)
    shutil.copy(place / "train_caps.txt", root)
    make = ("make", "--captions", "300", "--ratio", "0.4", "--seed", "1", "--output", f"{root / 'FILE.npz'}")
    assert make_noise(make) == 0
    (root / "FILE.npz").rename(root / "FILE")
    (root / "glove.6B.300d.txt").write_text(
        "".join(f"{word} {' '.join(['0.1'] * 300)}\n" for word in ("red", "circle", "is"))
    )
    return root


@pytest.fixture
def page_folder(inputs, tmp_path, monkeypatch):
    """A fresh copy of the inputs to work in; the embedded scenes are few and OMIT is narrow."""
    from robustcmr.data.scenes import Scenes
    from robustcmr.data.scenes_labels import ScenesLabels
    from robustcmr.matchers.omit import Omit

    folder = tmp_path / "page"
    shutil.copytree(inputs, folder)
    monkeypatch.chdir(folder)
    smaller = {
        Scenes: {"n_train": 60, "n_dev": 20, "n_test": 20},
        ScenesLabels: {"n_train": 150, "n_dev": 20, "n_test": 20},
        Omit: {"dim": 16, "word_dim": 8, "region_hidden": 8},
    }
    for part, sizes in smaller.items():
        config = type("Config", (part.Config,), {"__annotations__": dict.fromkeys(sizes, int), **sizes})
        monkeypatch.setattr(part, "Config", config)
    return folder


class Page:
    """Runs what a page shows, in order."""

    def __init__(self):
        self.names = {"__name__": "__page__"}
        self.last_training = ["train"]  # with --output

    def run(self, block):
        """Execute a block of Python, or each of its commands."""
        if block.file is not None:
            Path(block.file).write_text(block.text, encoding="utf-8")
        if block.python:
            code = "\n" * (block.line - 1) + block.text  # so that a traceback names the line of the page
            body = ast.parse(code).body
            shown = body.pop() if isinstance(body[-1], ast.Expr) else None
            exec(compile(ast.Module(body, []), block.page, "exec"), self.names)
            if shown is not None:  # as a notebook shows it
                value = eval(compile(ast.Expression(shown.value), block.page, "eval"), self.names)
                assert "<script" not in getattr(value, "_repr_html_", lambda: repr(value))()
            return
        for line, words in block.commands():
            self.command(f"{block.page}:{line}", words)

    def command(self, place, words):
        """Run a command of ours, or check what can be checked of another one."""
        if words[0] == "torchrun":  # the same job in one process
            words = ["robustcmr", *words[words.index("robustcmr") + 1 :]]
        if words[0] == "python" and words[1] == "-c":
            done = subprocess.run([sys.executable, *words[1:]], text=True, capture_output=True)
            assert done.returncode == 0, f"{place}: {done.stderr}"
        if words[0] != "robustcmr":
            return
        if words[1] in PARSED_ONLY and words[2] not in REVIEW:
            code, told = parsed(words)
            assert code == 0, f"{place}: {shlex.join(words)}: {told}"
            return
        self.supply_runs(place, words[1:])
        if words[1] == "train" and "--output" in words:
            self.last_training = words[1:]
        self.ours(place, words[1:])

    def ours(self, place, words):
        """Run a ``robustcmr`` command in this process."""
        from robustcmr.cli.main import run

        if words[0] == "train" and "--resume" not in words:
            clip = "clip" in words or any(word.startswith("matcher.weights=") for word in words)
            wide = () if clip else ("matcher.dim=16",)
            wide = ENCODER if "vse_infty" in words else wide
            words = [*words, *(part for setting in (*SHORTER, *wide) for part in ("--set", setting))]
        elif words[0] == "train" and "--epochs" in words:  # one more than the run has
            words = [*words, "--epochs", "2"]
        elif words[:2] == ["data", "export"]:
            words = [*words, "--set", "data.n_train=150"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["robustcmr", *words])
            code, told = quietly(run)
        assert code == 0, f"{place}: robustcmr {shlex.join(words)}: {told}"

    def supply_runs(self, place, words):
        """Train the run folders that a command reads and no command of the page has made."""
        for i, word in enumerate(words):
            run = re.fullmatch(r"runs/\w+", word)
            if run and words[i - 1] not in ("-o", "--output") and not Path(word, "results.json").exists():
                self.ours(place, [*self.last_training, "--seed", str(i), "--output", word])


@pytest.mark.parametrize("page", PAGES)
def test_blocks_of_a_page_run(page, page_folder):
    shown = Page()
    for block in blocks(page, (ROOT / page).read_text(encoding="utf-8")):
        shown.run(block)


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_sentences_are_understood(page):
    for line, words in inline_commands((ROOT / page).read_text(encoding="utf-8")):
        code, told = parsed(words)
        assert code == 0, f"{page}:{line}: {shlex.join(words)}: {told}"


@pytest.mark.parametrize("page", PAGES)
def test_scripts_and_results_that_are_named_exist(page):
    named = set(re.findall(r"(?:scripts|tests|docs)/[\w/]+\.\w+", (ROOT / page).read_text(encoding="utf-8")))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_options_of_scripts_that_are_shown_exist():
    """Each ``--option`` of a script of ours is one that the script, or what it shares, defines."""
    shared = "".join(path.read_text(encoding="utf-8") for path in SHARED)
    shown = 0
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for script, words in re.findall(r"(?:python|bash) (scripts/[\w/]+\.(?:py|sh))([^`\n#]*)", text):
            known = (ROOT / script).read_text(encoding="utf-8") + shared
            for option in re.findall(r"(--[a-z-]+)", words):
                as_keyword = f"{option.removeprefix('--').replace('-', '_')}="  # of benchmarks
                assert f'"{option}"' in known or as_keyword in known, f"{page}: {script} {option}"
                shown += 1
    assert shown > 10


def test_a_matcher_of_ones_own_is_short():
    for page in PAGES:
        for block in blocks(page, (ROOT / page).read_text(encoding="utf-8")):
            if "(Matcher):" in block.text:
                assert len(block.text.splitlines()) < 40, f"{page}:{block.line}"


def test_the_readme_stays_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_citation_is_of_this_version():
    from robustcmr import __version__

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["title"], str(cited["version"])) == ("robustcmr", __version__)
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "authors", "license"} <= set(cited)


def test_a_broken_snippet_fails_with_its_place(tmp_path, monkeypatch):
    source = "# Page\n\n```python\nx = 1\n```\n\nThen:\n\n```python\nassert x == 2, x\n```\n"
    first, second = blocks("page.md", source)
    shown = Page()
    shown.run(first)
    with pytest.raises(AssertionError) as raised:
        shown.run(second)
    last = raised.traceback[-1]
    assert (Path(last.path).name, last.lineno + 1) == ("page.md", 10)


def test_blocks_marked_as_not_to_run_are_left_out():
    source = "<!-- not run: needs a GPU -->\n```python\n1 / 0\n```\n\n<!-- not run: -->\n```python\nx\n```\n"
    assert [block.text for block in blocks("page.md", source)] == ["x\n"]  # a reason is required


def test_a_directive_is_no_block():
    source = "```{image} a.png\n:width: 10px\n```\n\nText.\n\n```{toctree}\nreview\n```\n"
    assert list(blocks("page.md", source)) == []


def test_commands_are_read_from_indented_blocks():
    source = "Text:\n\n    robustcmr train --noise 0.4   # why\n    robustcmr eval runs/a …\n"
    source += "\nand `robustcmr list a|b`.\n"
    (block,) = blocks("page.md", source)
    assert list(block.commands()) == [
        (3, ["robustcmr", "train", "--noise", "0.4"]),
        (4, ["robustcmr", "eval", "runs/a"]),
    ]
    assert list(inline_commands(source)) == [(6, ["robustcmr", "list", "a"])]


@pytest.mark.parametrize("words", ["train --nois 0.4", "evaluate runs/a", "list", "show omit --jsn"])
def test_a_command_with_a_mistake_is_not_understood(words):
    code, told = parsed(["robustcmr", *words.split()])
    assert code == 2
    assert "Usage" in told


def test_every_option_shown_exists():
    """Each `--set KEY=` is a key that some part knows."""
    from robustcmr import plugins
    from robustcmr.config.fields import field_rows
    from robustcmr.config.schema import Settings

    known = {row[0] for row in field_rows(Settings)}
    parts = {"data": plugins.datasets, "matcher": plugins.matchers, "method": plugins.methods}
    for section, registry in parts.items():
        known.add(f"{section}.name")
        for name in registry.names():
            known |= {row[0] for row in field_rows(registry.load(name).Config, f"{section}.")}
    shown = {
        key
        for page in PAGES
        if page != "CHANGELOG.md"  # names keys of older versions
        for key in re.findall(r"--set ([a-z_]+\.[a-z_]+)=", (ROOT / page).read_text(encoding="utf-8"))
    }
    assert len(shown) > 5
    assert shown <= known
