from __future__ import annotations

import csv
import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from noise_injection import (
    load_label_noise,
    load_noise,
    make_label_noise,
    make_mismatch,
    regular_truth,
    save_label_noise,
    save_noise,
)
from noise_injection.cli import COMMANDS, main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(list(arguments))
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def refused(outcome: tuple[int, str, str], part: str) -> None:
    code, out, err = outcome
    assert code == 2
    assert out == ""
    assert part in err
    assert err.count("\n") == 1


def test_make_describe_verify(run: Run, tmp_path: Path) -> None:
    code, out, err = run("make", "--captions", "100", "--ratio", "0.4", "--seed", "6", "-o", "n.npz")
    assert (code, err) == (0, "")
    index, record = make_mismatch(regular_truth(100, 5), 20, 0.4, "caption", 6)
    kept = record.n_chosen - record.n_mismatched
    assert kept > 0
    for part in ("written to n.npz", record.index_sha256, f"40 captions, {kept} returned", "seed 6"):
        assert part in out
    loaded, saved = load_noise(tmp_path / "n.npz", regular_truth(100, 5), 20)
    np.testing.assert_array_equal(loaded, index)
    assert saved == record

    code, out, err = run("describe", "n.npz")
    assert (code, err) == (0, "")
    assert "caption rows" in out
    assert record.index_sha256 in out

    code, out, err = run("verify", "n.npz")
    assert (code, err) == (0, "")
    assert "the same" in out


def test_json(run: Run) -> None:
    made = json.loads(
        run(
            *(
                "make",
                "--captions",
                "40",
                "--captions-per-image",
                "2",
                "--ratio",
                "0.5",
                "--protocol",
                "image",
            ),
            *("--seed", "1", "--derange", "--data-fingerprint", "abc", "-o", "n.npz", "--json"),
        )[1]
    )
    assert made["file"] == "n.npz"
    assert made["record"]["data_fingerprint"] == "abc"
    assert made["description"]["images_without_true_caption"] == 10
    described = json.loads(run("describe", "n.npz", "--json")[1])
    assert described == made
    verified = json.loads(run("verify", "n.npz", "--json")[1])
    assert verified["matches"] is True
    assert verified["found_sha256"] == made["record"]["index_sha256"]
    text = run("describe", "n.npz")[1]
    assert "deranged" in text
    assert "abc" in text


def test_make_counts_a_caption_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "caps.txt").write_text("".join(f"caption {i}\n" for i in range(20)))
    made = json.loads(
        run("make", "--captions-file", "caps.txt", "--ratio", "0.5", "-o", "n.npy", "--json")[1]
    )
    assert (made["record"]["n_captions"], made["record"]["n_images"]) == (20, 4)
    assert np.load(tmp_path / "n.npy").dtype == np.int64


def test_truth_file(run: Run, tmp_path: Path) -> None:
    truth = np.array([0, 0, 0, 1, 2, 2, 3, 3])
    np.save(tmp_path / "t.npy", truth)
    assert run("make", "--truth", "t.npy", "--ratio", "0.9", "--protocol", "image", "-o", "n.npz")[0] == 0
    index, _ = make_mismatch(truth, 4, 0.9, "image", 0)
    np.testing.assert_array_equal(load_noise(tmp_path / "n.npz", truth, 4)[0], index)
    assert run("verify", "n.npz", "--truth", "t.npy")[0] == 0
    refused(run("describe", "n.npz"), "give the image of each caption with --truth FILE.npy")
    refused(
        run("verify", "n.npz", "--captions-per-image", "4"),
        "8 captions of 4 images and the data has 8 captions of 2",
    )
    refused(
        run("describe", "n.npz", "--truth", "t.npy", "--captions-per-image", "2"),
        "leave --captions-per-image out",
    )
    refused(run("describe", "n.npz", "--truth", "none.npy"), "there is no truth file none.npy")
    np.save(tmp_path / "t.npy", truth[:7])
    assert run("make", "--truth", "t.npy", "--ratio", "0.9", "--force", "-o", "n.npz")[0] == 0
    refused(run("describe", "n.npz"), "not the same number each")


def test_existing_file_is_kept_unless_forced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "n.npz").write_text("precious")
    arguments = ("make", "--captions", "20", "--ratio", "0.4", "-o", "n.npz")
    refused(run(*arguments), "already exists")
    assert (tmp_path / "n.npz").read_text() == "precious"
    assert run(*arguments, "--force")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--captions", "20", "--ratio", "1", "-o", "n.npz"), "noise ratio is 1.0"),
        (("--captions", "20", "--ratio", "nan", "-o", "n.npz"), "noise ratio is nan"),
        (("--captions", "20", "--ratio", "40", "-o", "n.npz"), "such as 0.4; did you mean 0.4?"),
        (("--captions", "21", "--ratio", "0.4", "-o", "n.npz"), "21 captions do not divide"),
        (("--captions", "0", "--ratio", "0.4", "-o", "n.npz"), "number of captions is 0"),
        (("--captions", "20", "--ratio", "0.4", "--seed", "-1", "-o", "n.npz"), "noise seed is -1"),
        (("--captions", "20", "--ratio", "0.4", "-o", "n.txt"), "ends in .txt"),
        (("--captions", "5", "--ratio", "0.4", "--derange", "-o", "n.npz"), "leave derange out"),
        (("--captions-file", "none.txt", "--ratio", "0.4", "-o", "n.npz"), "there is no file none.txt"),
    ],
)
def test_mistakes_in_make(run: Run, arguments: tuple[str, ...], part: str, tmp_path: Path) -> None:
    refused(run("make", *arguments), part)
    assert list(tmp_path.iterdir()) == []


def test_mistakes_argparse_finds(run: Run) -> None:
    code, _, err = run("make", "--captions", "20", "--ratio", "0.4", "--protocol", "word", "-o", "n.npz")
    assert code == 2
    assert "caption" in err
    assert "image" in err
    assert run()[0] == 2
    assert run("make", "--ratio", "0.4", "-o", "n.npz")[0] == 2
    assert run("make", "--captions", "5", "--truth", "t.npy", "--ratio", "0.4", "-o", "n.npz")[0] == 2


def test_help_and_prog(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["make", "--help"], prog="robustcmr noise")
    assert "robustcmr noise make" in capsys.readouterr().out
    assert main(["describe", "none.npz"], prog="robustcmr noise") == 2
    assert capsys.readouterr().err.startswith("robustcmr noise describe: there is no noise file none.npz")


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_in_the_help_run(run: Run, tmp_path: Path, command: str) -> None:
    truth = regular_truth(20, 5)
    features = np.random.RandomState(0).normal(size=(20, 3))
    for suffix in ("caps", "ids"):
        (tmp_path / f"train_{suffix}.txt").write_text("".join(f"{suffix} {i // 5}\n" for i in range(20)))
    for name, values in (("image_of_caption", truth), ("true", np.arange(20) % 3), ("images", features)):
        np.save(tmp_path / f"{name}.npy", values)
    save_noise(tmp_path / "noise.npz", *make_mismatch(truth, 4, 0.4, "caption", 96))
    save_noise(
        tmp_path / "published.npy", *make_mismatch(regular_truth(145_000, 5), 29_000, 0.4, "caption", 96)
    )
    labelled = make_label_noise(np.arange(20) % 3, 3, 0.4, "instance", 0, features=features)
    save_label_noise(tmp_path / "labels.npz", *labelled)
    code, out, _ = run(command, "--help")
    examples = out.partition("examples:\n")[2].splitlines()
    assert code == 0
    assert len(examples) == 3
    for example in examples:
        words = example.split()
        assert words[:4] == ["python", "-m", "noise_injection", command]
        code, out, err = run(*words[3:], *(["--force"] if "-o" in words else []))
        assert (code, err) == (0, "")
        assert out


def test_layouts_are_recognised_without_being_told(run: Run, tmp_path: Path) -> None:
    index, record = make_mismatch(regular_truth(100, 5), 20, 0.5, "image", 3)
    save_noise(tmp_path / "rows.npy", index, record)
    np.save(tmp_path / "permutation.npy", index[::5])
    for name, layout in (("rows.npy", "expanded image rows"), ("permutation.npy", "image permutation")):
        found = json.loads(run("describe", name, "--json")[1])
        assert found["description"]["layout"] == layout
        assert found["description"]["index_sha256"] == record.index_sha256
        assert found["record"]["source"] == name
        assert "unknown" in run("describe", name)[1]
        settings = ("--protocol", "image", "--ratio", "0.5")
        assert run("verify", name, *settings, "--seed", "3")[0] == 0
        code, out, err = run("verify", name, *settings, "--seed", "4")
        assert (code, err) == (1, "")
        assert "DIFFERENT" in out
    found = json.loads(
        run("describe", "permutation.npy", "--captions", "40", "--captions-per-image", "2", "--json")[1]
    )
    assert found["description"]["n_captions"] == 40
    refused(run("describe", "rows.npy", "--captions", "50"), "100 entries; expected 50")


def test_out_of_range_entry_is_named(run: Run, tmp_path: Path) -> None:
    values = regular_truth(100, 5)
    values[7] = 20
    np.save(tmp_path / "n.npy", values)
    refused(run("describe", "n.npy"), "from 0 to 20; expected image indices from 0 to 19")


def test_verify_needs_settings_once(run: Run, tmp_path: Path) -> None:
    index, record = make_mismatch(regular_truth(20, 5), 4, 0.5, "caption", 3)
    save_noise(tmp_path / "n.npy", index, record)
    refused(run("verify", "n.npy", "--ratio", "0.5"), "give --protocol and --seed")
    save_noise(tmp_path / "n.npz", index, record)
    refused(run("verify", "n.npz", "--ratio", "0.5"), "leave --ratio out")
    refused(run("verify", "n.npz", "--derange"), "leave --derange out")
    _, published = load_noise(tmp_path / "n.npy", regular_truth(20, 5), 4)
    save_noise(tmp_path / "p.npz", index, published)  # a record that does not say how it was made
    refused(run("verify", "p.npz"), "give --protocol and --ratio and --seed")
    code, out, _ = run("verify", "p.npz", "--protocol", "caption", "--ratio", "0.5", "--seed", "3")
    assert code == 0
    assert "recorded" in out


def test_verify_finds_an_altered_file(run: Run, tmp_path: Path) -> None:
    index, record = make_mismatch(regular_truth(20, 5), 4, 0.5, "caption", 3)
    altered = index.copy()
    altered[[0, 19]] = altered[[19, 0]]
    np.savez(tmp_path / "n.npz", index=altered, record=np.array(json.dumps(record.to_dict())))
    assert run("verify", "n.npz")[0] == 1
    refused(run("describe", "n.npz"), "altered")


@pytest.fixture
def data(tmp_path: Path) -> tuple[np.ndarray, list[str]]:
    captions = [f'say "{i}"' for i in range(20)]
    (tmp_path / "caps.txt").write_text("\n".join(captions) + "\n")
    (tmp_path / "ids.txt").write_text("".join(f"{i}.jpg\n" for i in range(4)))
    index, record = make_mismatch(regular_truth(20, 5), 4, 0.5, "caption", 3)
    save_noise(tmp_path / "n.npz", index, record)
    return index, captions


def test_apply_writes_tables(run: Run, tmp_path: Path, data: tuple[np.ndarray, list[str]]) -> None:
    index, captions = data
    code, out, err = run("apply", "n.npz", "--captions", "caps.txt", "--ids", "ids.txt", "-o", "pairs.tsv")
    assert (code, err) == (0, "")
    assert "written to pairs.tsv" in out
    lines = (tmp_path / "pairs.tsv").read_text().splitlines()
    assert lines[0] == "caption_row\timage\timage_name\tcaption"
    assert lines[1:] == [f"{i}\t{index[i]}\t{index[i]}.jpg\t{captions[i]}" for i in range(20)]
    assert run("apply", "n.npz", "--captions", "caps.txt", "--with-truth", "-o", "pairs.csv")[0] == 0
    with (tmp_path / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["mismatched"]) for row in rows] == [int(index[i] != i // 5) for i in range(20)]
    assert [row["caption"] for row in rows] == captions


def test_apply_says_which_cells_a_spreadsheet_would_run(
    run: Run, tmp_path: Path, data: tuple[np.ndarray, list[str]]
) -> None:
    lines = (tmp_path / "caps.txt").read_text().splitlines()
    lines[2:4] = ["=1+1", "- a dash"]
    (tmp_path / "caps.txt").write_text("\n".join(lines) + "\n")
    code, out, _ = run("apply", "n.npz", "--captions", "caps.txt", "-o", "a\nb.csv")
    assert code == 0
    assert "\nwritten to a\\nb.csv\n2 cells start with =, +, - or @" in out
    with (tmp_path / "a\nb.csv").open(newline="") as file:
        assert [row["caption"] for row in csv.DictReader(file)] == lines  # for programs, as they are


def test_apply_writes_the_published_layout(
    run: Run, tmp_path: Path, data: tuple[np.ndarray, list[str]]
) -> None:
    assert run("apply", "n.npz", "-o", "n.npy")[0] == 0
    np.testing.assert_array_equal(np.load(tmp_path / "n.npy"), data[0])
    assert run("apply", "n.npz", "--captions", "caps.txt", "-o", "n.npy", "--force")[0] == 0
    np.save(tmp_path / "p.npy", np.array([1, 0, 2, 3]))
    assert run("apply", "p.npy", "-o", "rows.npy")[0] == 0
    assert np.load(tmp_path / "rows.npy").tolist() == [1] * 5 + [0] * 5 + [2] * 5 + [3] * 5


def test_mistakes_in_apply(run: Run, tmp_path: Path, data: tuple[np.ndarray, list[str]]) -> None:
    refused(run("apply", "n.npz", "-o", "pairs.tsv"), "give their file with --captions")
    refused(run("apply", "n.npz", "-o", "pairs.txt"), "name the output with suffix .tsv or .csv or .npy")
    refused(run("apply", "n.npz", "-o", "n.npy", "--ids", "ids.txt"), "leave --ids and --with-truth out")
    (tmp_path / "pairs.tsv").write_text("precious")
    refused(run("apply", "n.npz", "--captions", "caps.txt", "-o", "pairs.tsv"), "already exists")
    (tmp_path / "caps.txt").write_text("a\n" * 15)
    refused(
        run("apply", "n.npz", "--captions", "caps.txt", "-o", "p.tsv"), "data has 15 captions of 3 images"
    )
    (tmp_path / "caps.txt").write_text("a\n" * 20)
    (tmp_path / "ids.txt").write_text("a\n" * 3)
    refused(
        run("apply", "n.npz", "--captions", "caps.txt", "--ids", "ids.txt", "-o", "p.tsv"),
        "3 names; expected 4",
    )
    assert not (tmp_path / "p.tsv").exists()


def test_as_a_program(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "noise_injection", "describe", str(tmp_path / "none.npy")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("python -m noise_injection describe: there is no noise file")


@pytest.fixture
def labels(tmp_path: Path) -> np.ndarray:
    truth = np.arange(60) % 3
    np.save(tmp_path / "true.npy", truth)
    np.save(tmp_path / "img.npy", np.random.RandomState(0).normal(size=(60, 4)))
    np.save(tmp_path / "txt.npy", np.random.RandomState(1).normal(size=(60, 2)))
    return truth


def test_make_labels_describe_verify(run: Run, tmp_path: Path, labels: np.ndarray) -> None:
    settings = ("--ratio", "0.4", "--seed", "6", "--per-modality", "--data-fingerprint", "abc")
    code, out, err = run("make-labels", "--labels", "true.npy", *settings, "-o", "l.npz")
    assert (code, err) == (0, "")
    given, record = make_label_noise(
        labels, 3, 0.4, "symmetric", 6, per_modality=True, data_fingerprint="abc"
    )
    loaded, saved = load_label_noise(tmp_path / "l.npz", labels, 3)
    np.testing.assert_array_equal(loaded, given)
    assert saved == record
    for part in ("written to l.npz", "symmetric, seed 6", "24 rows in each", "abc", record.labels_sha256):
        assert part in out
    code, again, _ = run("describe", "l.npz", "--labels", "true.npy")
    assert code == 0
    assert out == again + "written to l.npz\n"
    code, out, err = run("verify", "l.npz", "--labels", "true.npy")
    assert (code, err) == (0, "")
    assert "the same" in out


def test_make_labels_json_and_kinds(run: Run, tmp_path: Path, labels: np.ndarray) -> None:
    make = ("make-labels", "--labels", "true.npy", "--ratio", "0.5", "--json", "--force", "-o", "l.npz")
    known = ("l.npz", "--labels", "true.npy", "--json")
    made = json.loads(run(*make, "--kind", "asymmetric", "--class-map", "1,0,2")[1])
    assert made["file"] == "l.npz"
    assert made["record"]["class_map"] == [1, 0, 2]
    assert made["description"]["transitions"][0][2] == [0, 0, 20]
    assert json.loads(run("describe", *known)[1]) == made
    assert json.loads(run("verify", *known)[1])["matches"] is True
    made = json.loads(run(*make, "--redraw-true", "--classes", "9")[1])
    assert (made["record"]["redraw_true"], made["record"]["n_classes"]) == (True, 9)
    assert "true class redrawn" in run("describe", *known[:-1])[1]
    features = ("--features", "img.npy", "txt.npy")
    made = json.loads(run(*make, "--kind", "instance", "--per-modality", *features)[1])
    assert made["record"]["n_wrong"] == [30, 30]
    assert run("verify", *known, *features)[0] == 0
    refused(run("verify", *known), "needs features")
    refused(run("verify", *known, "--features", "img.npy"), "made with other features")
    made = json.loads(run(*make, "--kind", "instance", "--features", "img.npy")[1])
    assert made["record"]["n_wrong"] == [30]
    altered = load_label_noise(tmp_path / "l.npz", labels, 3)[0]
    altered[0] = (altered[0] + 1) % 3
    np.savez(tmp_path / "l.npz", labels=altered, record=np.array(json.dumps(made["record"])))
    code, out, err = run("verify", "l.npz", "--labels", "true.npy", "--features", "img.npy")
    assert (code, err) == (1, "")
    assert "DIFFERENT in 1" in out
    refused(run("describe", *known), "altered")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--ratio", "1"), "noise ratio is 1.0"),
        (("--ratio", "0.4", "--kind", "asymetric"), "did you mean 'asymmetric'"),
        (("--ratio", "0.4", "--classes", "2"), "the label vector has entries from 0 to 2"),
        (("--ratio", "0.4", "--classes", "1"), "number of classes is 1"),
        (("--ratio", "0.4", "--kind", "instance"), "needs features"),
        (("--ratio", "0.4", "--kind", "instance", "--features", *["img.npy"] * 3), "3 feature files"),
        (("--ratio", "0.4", "--kind", "instance", "--features", "no.npy"), "there is no feature file no.npy"),
        (("--ratio", "0.4", "--kind", "asymmetric", "--class-map", "1,x"), "class map is '1,x'"),
        (("--ratio", "0.4", "--class-map", "1,2,0"), "does not use class_map"),
        (("--ratio", "0.4", "-o", "l.npy"), "name a label noise file with suffix .npz"),
        (("--ratio", "0.4", "-o", "true.npz"), "already exists"),
        (("--ratio", "0.4", "--labels", "img.npy"), "has shape (60, 4)"),
        (("--ratio", "0.4", "--labels", "no.npy"), "there is no label file no.npy"),
        (("--ratio", "0.4", "--labels", "zeros.npy"), "number of classes is 1"),
        (("--ratio", "0.4", "--labels", "floats.npy"), "has float64 values"),
        (
            ("--ratio", "0.4", "--labels", "negative.npy"),
            "has entries from -1 to 1; expected classes from 0 to 1",
        ),
    ],
)
def test_mistakes_in_make_labels(
    run: Run, tmp_path: Path, labels: np.ndarray, arguments: tuple[str, ...], part: str
) -> None:
    (tmp_path / "true.npz").write_text("precious")
    np.save(tmp_path / "zeros.npy", np.zeros(5, int))
    np.save(tmp_path / "floats.npy", np.zeros(5))
    np.save(tmp_path / "negative.npy", np.array([-1, 0, 1]))
    before = sorted(tmp_path.iterdir())
    refused(run("make-labels", "--labels", "true.npy", "-o", "l.npz", *arguments), part)
    assert sorted(tmp_path.iterdir()) == before


def test_label_and_pair_files_are_told_apart(run: Run, tmp_path: Path, labels: np.ndarray) -> None:
    assert run("make-labels", "--labels", "true.npy", "--ratio", "0.4", "-o", "l.npz")[0] == 0
    assert run("make", "--captions", "20", "--ratio", "0.4", "-o", "p.npz")[0] == 0
    for command in ("describe", "verify"):
        refused(run(command, "l.npz"), "holds labels; give the true ones with --labels")
        refused(run(command, "l.npz", "--labels", "true.npy", "--captions", "20"), "leave --captions out")
        refused(
            run(command, "l.npz", "--labels", "true.npy", "--captions-per-image", "5"),
            "leave --captions-per-image out",
        )
        refused(
            run(command, "p.npz", "--labels", "true.npy"),
            "holds mismatched pairs, not labels; leave --labels out",
        )
    refused(run("verify", "l.npz", "--labels", "true.npy", "--seed", "0"), "leave --seed out")
    refused(run("verify", "l.npz", "--labels", "true.npy", "--derange"), "leave --derange out")
    refused(run("verify", "p.npz", "--features", "img.npy"), "leave --features out")
    refused(run("apply", "l.npz", "-o", "x.npy"), "holds labels, not pairs")
    np.save(tmp_path / "few.npy", labels[:50])
    refused(run("describe", "l.npz", "--labels", "few.npy"), "60 rows and the data has 50 labels")


def test_ctrl_c_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("noise_injection.cli.main", interrupted)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("noise_injection", run_name="__main__")
    assert (ended.value.code, capsys.readouterr().err) == (130, "noise_injection: stopped by Ctrl-C\n")
