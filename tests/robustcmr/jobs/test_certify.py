"""Labels of an audit's pairs, what they prove, and the pairs judged again by them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import expit

from robustcmr.audit.decide import (
    BOILERPLATE,
    DROP_ABOVE,
    DUPLICATE,
    FITS,
    KEEP_BELOW,
    MISMATCHED,
    NAMES,
    UNSURE,
)
from robustcmr.audit.design import allocate, draw, make_design
from robustcmr.audit.labels import Label, LabelFile, now
from robustcmr.audit.output import OUTPUT
from robustcmr.cli.main import app
from robustcmr.errors import ArgumentError, DataError
from robustcmr.jobs.certify import AUDITED, certify_audit
from robustcmr.runs.audits import AuditFolder

PAIRS = 4000


class Audit:
    """A finished audit whose truth is known."""

    def __init__(self, folder: Path, rate: float = 0.3, uids: bool = False) -> None:
        rng = np.random.default_rng(0)
        self.folder = folder
        self.wrong = rng.random(PAIRS) < rate
        self.score = np.where(self.wrong, rng.normal(-4, 2, PAIRS), rng.normal(4, 2, PAIRS)).astype(
            np.float32
        )
        self.score[:20] = np.nan
        self.ids = [f"{n:032x}" if uids else f"pair {n}" for n in range(PAIRS)]
        chance = expit(-self.score)
        low, high = expit(-self.score - 0.5), expit(-self.score + 0.5)
        code = np.where(
            low > DROP_ABOVE, NAMES.index("drop"), np.where(high <= KEEP_BELOW, 0, NAMES.index("review"))
        )
        code[:20] = NAMES.index("aside")
        reasons = np.array([FITS, MISMATCHED, UNSURE, "empty caption"], dtype=object)[code]
        code[20:30], reasons[20:30] = NAMES.index("drop"), DUPLICATE
        reasons[(code == NAMES.index("drop")) & (np.arange(PAIRS) % 7 == 0)] = BOILERPLATE
        reasons[20:30] = DUPLICATE
        columns = {
            "id": self.ids,
            "image": [f"{n}.jpg" for n in range(PAIRS)],
            "caption": ["a dog"] * PAIRS,
            "file": ["a.parquet"] * PAIRS,
            "row": list(range(PAIRS)),
            "part": [0] * PAIRS,
            **{
                name: pa.array(values.astype(np.float32), mask=np.isnan(values))
                for name, values in (
                    ("score", self.score),
                    ("p_mismatch", chance),
                    ("p_low", low),
                    ("p_high", high),
                )
            },
            "decision": [NAMES[one] for one in code],
            "reason": reasons.tolist(),
            "duplicate_of": [None] * PAIRS,
            "caption_count": [1] * PAIRS,
            "calibrated_by": ["these pairs"] * PAIRS,
        }
        table = pa.table(
            {
                name: pa.array(columns[name], OUTPUT.field(name).type)
                if not isinstance(columns[name], pa.Array)
                else columns[name]
                for name in OUTPUT.names
            }
        ).cast(OUTPUT)
        (folder / "lists").mkdir(parents=True)
        pq.write_table(table, folder / "pairs.parquet", row_group_size=1500)
        about = {
            "robustcmr_version": "0",
            "command": "",
            "source": {},
            "fingerprint": {},
            "settings": {"sources": []},
        }
        (folder / "audit.json").write_text(json.dumps(about))
        summary = {
            "pairs": PAIRS,
            "decisions": {},
            "reasons": {},
            "noise_rate": None,
            "problems": [],
            "says": [],
        }
        (folder / "summary.json").write_text(json.dumps(summary))

    def label(self, labels: int, verdict: str | None = None) -> None:
        """Let somebody who knows the truth, or who always says the same, judge a sample."""
        design = make_design([self.score], [self.score])
        rows, strata, chance = draw([self.score], design, allocate(design, labels), 0)
        LabelFile(self.folder / "labels.jsonl").append(
            [
                Label(
                    self.ids[row],
                    verdict or ("wrong" if self.wrong[row] else "right"),
                    "ann",
                    now(),
                    int(stratum),
                    float(p),
                    key=str(number),
                )
                for number, (row, stratum, p) in enumerate(zip(rows, strata, chance, strict=True))
            ]
        )

    def pairs(self) -> dict[str, np.ndarray]:
        table = pq.read_table(self.folder / "pairs.parquet")
        return {name: np.array(table[name].to_pylist(), dtype=object) for name in table.column_names}


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    return Audit(tmp_path / "audit")


def test_certified_pairs_are_dropped_and_no_others_for_their_score(audit: Audit) -> None:
    before = audit.pairs()
    audit.label(400)
    found = certify_audit(audit.folder, precision=0.9)
    cut, after = found.found.cut, audit.pairs()
    assert cut is not None
    assert found.noise_rate.low <= audit.wrong[20:].mean() <= found.noise_rate.high
    listed = audit.score <= cut
    assert found.found.pairs == listed.sum()
    dropped = (before["decision"] == "drop") & (before["reason"] != DUPLICATE)
    assert found.drop_precision is not None
    assert found.drop_recall is not None
    assert found.drop_precision.low <= audit.wrong[dropped].mean() <= found.drop_precision.high
    assert (
        found.drop_recall.low <= audit.wrong[dropped].sum() / audit.wrong[20:].sum() <= found.drop_recall.high
    )
    assert audit.wrong[listed].mean() >= 0.9
    score_decides = np.isin(before["reason"], [FITS, MISMATCHED, UNSURE, BOILERPLATE])
    assert (after["decision"][score_decides & listed] == "drop").all()
    doubtful = score_decides & ~listed & (before["decision"] == "drop")
    assert (after["decision"][doubtful] == "review").all()
    assert (after["reason"][doubtful] == UNSURE).all()
    others = ~listed & ~doubtful | ~score_decides
    assert (after["decision"][others] == before["decision"][others]).all()
    assert (after["reason"][20:30] == DUPLICATE).all()
    assert set(after["calibrated_by"]) == {"400 labels"}
    for name in ("id", "image", "caption", "row", "score", "caption_count"):
        assert (after[name] == before[name]).all()


def test_lists_and_summary_follow(audit: Audit) -> None:
    audit.label(400)
    certify_audit(audit.folder, precision=0.9)
    after = audit.pairs()
    summary = AuditFolder(audit.folder).read_summary()
    for decision in NAMES:
        ids = (audit.folder / "lists" / f"{decision}.txt").read_text().splitlines()
        assert ids == after["id"][after["decision"] == decision].tolist()
        assert summary["decisions"][decision] == len(ids)
    stored = json.loads((audit.folder / "certified.json").read_text())
    assert stored["found"]["cut"] is not None
    assert not (audit.folder / "lists" / "keep.npy").exists()


def test_uids_get_their_arrays(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit", uids=True)
    audit.label(400)
    certify_audit(audit.folder, precision=0.9)
    dropped = np.load(audit.folder / "lists" / "drop.npy")
    assert len(dropped) == (audit.pairs()["decision"] == "drop").sum()
    assert not (audit.folder / "spill").exists()


def test_every_call_starts_from_the_audit_itself(audit: Audit, tmp_path: Path) -> None:
    whole = pq.read_table(audit.folder / "pairs.parquet")
    audit.label(400)
    certify_audit(audit.folder, recall=0.5)
    once = audit.pairs()
    assert pq.read_table(audit.folder / AUDITED).equals(whole)
    certify_audit(audit.folder, precision=0.9)
    certify_audit(audit.folder, recall=0.5)
    again = audit.pairs()
    assert all((again[name] == once[name]).all() for name in ("decision", "reason", "calibrated_by"))
    known = ~np.isnan(audit.score)
    for name in ("p_mismatch", "p_low", "p_high"):
        np.testing.assert_array_equal(again[name][known].astype(float), once[name][known].astype(float))


def test_labels_that_do_not_suffice_change_no_decision(audit: Audit) -> None:
    before = audit.pairs()
    audit.label(60)
    found = certify_audit(audit.folder, precision=0.97)
    assert found.found.cut is None
    assert any("do not prove a precision of 97.0%" in sentence for sentence in found.says)
    after = audit.pairs()
    assert (after["decision"] == before["decision"]).all()
    assert (after["p_mismatch"][20:] != before["p_mismatch"][20:]).any()


def test_probabilities_follow_the_labels(audit: Audit) -> None:
    audit.label(400, verdict="right")
    certify_audit(audit.folder, precision=0.95)
    after = audit.pairs()
    assert after["p_mismatch"][20:].astype(float).mean() < 0.05


def test_unsure_pairs_do_not_count(audit: Audit) -> None:
    audit.label(400)
    LabelFile(audit.folder / "labels.jsonl").append(
        [Label(audit.ids[n], "unsure", "bob", now(), 0, 0.1, key=f"b{n}") for n in range(100, 110)]
    )
    found = certify_audit(audit.folder, precision=0.9)
    assert found.unsure + found.labels >= 400
    assert found.unsure > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "give either a precision or a recall"),
        ({"precision": 0.9, "recall": 0.9}, "give either a precision or a recall"),
        ({"precision": 95}, "precision is 95, expected a share between 0 and 1"),
        ({"recall": 0.0}, "recall is 0, expected a share"),
        ({"precision": 0.9, "confidence": 1.0}, "confidence is 1, expected a share"),
    ],
)
def test_what_cannot_be_promised_is_refused(audit: Audit, options: dict[str, float], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        certify_audit(audit.folder, **options)


def test_missing_and_foreign_labels_are_refused(audit: Audit, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no labels yet; judge some of its pairs first"):
        certify_audit(audit.folder, precision=0.9)
    with pytest.raises(DataError, match="there is no audit in"):
        certify_audit(tmp_path / "none", precision=0.9)
    LabelFile(audit.folder / "labels.jsonl").append([Label("stranger", "wrong", "ann", now(), 0, 0.1)])
    with pytest.raises(
        DataError, match="1 labelled pairs are not among the judged ones of the audit, such as 'stranger'"
    ):
        certify_audit(audit.folder, precision=0.9)


def test_command_line(audit: Audit, capsys: pytest.CaptureFixture[str]) -> None:
    audit.label(400)
    app(["certify", str(audit.folder), "--precision", "0.9"], standalone_mode=False)
    said = capsys.readouterr().out
    assert "By 400 labels, " in said
    assert "Certified: " in said
    assert "Certified: " in (audit.folder / "report.html").read_text()
    app(["certify", str(audit.folder), "--recall", "0.5", "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["kind"] == "recall"
    assert app(["certify", str(audit.folder), "--precision", "0.9999"], standalone_mode=False) == 1
    assert "The labels do not prove" in capsys.readouterr().out


def test_damaged_pairs_are_one_sentence(audit: Audit) -> None:
    audit.label(60)
    path = audit.folder / "pairs.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"cannot judge the pairs of .* again: .*; audit the pairs again"):
        certify_audit(audit.folder, precision=0.9)
