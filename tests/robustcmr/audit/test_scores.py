"""Blocks of pairs, and pieces that are scored."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from robustcmr.audit import scores
from robustcmr.audit.columns import write_columns
from robustcmr.audit.parts import Piece
from robustcmr.audit.scores import blocks, score_piece


def test_blocks_end_between_two_pictures():
    codes = np.array([1, 1, 2, 2, 2, 3, 4, 4, 4, 4, 4, 5])
    found = list(blocks(codes, 4))
    assert [(block.start, block.stop) for block in found] == [(0, 2), (2, 6), (6, 10), (10, 12)]
    assert list(blocks(codes[:0], 4)) == []
    joined = np.concatenate([codes[block] for block in blocks(codes, 3)])
    np.testing.assert_array_equal(joined, codes)


def test_bad_vectors_are_left_out_and_named(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(2, 9, 4)).astype(np.float32)
    images[3, 0], texts[5] = np.nan, 0
    problem = [None] * 9
    problem[1] = "empty caption"
    codes = pa.array(np.arange(9) // 2, pa.uint64())
    pq.write_table(
        pa.table({"image_code": codes, "problem": pa.array(problem, pa.string())}), tmp_path / "rows"
    )
    at = np.array([8, 7, 6, 5, 4, 3, 2, -1, 0])
    columns = pa.RecordBatch.from_pydict(
        {"image_at": at, "text_at": np.arange(9), "repeated_id": np.array([0] * 8 + [1], np.uint8)}
    )
    write_columns(tmp_path, {"image_at": "<i8", "text_at": "<i8", "repeated_id": "|u1"}, 9, [columns])
    asked = []

    def score(image, text, image_codes):
        asked.append(len(image))
        np.testing.assert_allclose(np.linalg.norm(image, axis=1), 1, rtol=1e-6)
        return {"cosine": (image * text).sum(1), "code": image_codes.astype(np.float32)}

    def run(name):
        takes = (lambda rows: images[rows]), (lambda rows: texts[rows])
        score_piece(tmp_path / "rows", tmp_path, Piece(0, 0, 9, 0), *takes, 4, score, tmp_path / name)
        return pq.read_table(tmp_path / name).to_pydict()

    found = run("whole")
    assert found["image_vector"] == [0, 0, 0, 0, 0, 2, 0, 1, 0]
    assert found["text_vector"] == [0, 0, 0, 0, 0, 3, 0, 0, 0]
    good = [0, 2, 3, 4, 6]
    one, two = images[at[good]], texts[good]
    expected = (one * two).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
    np.testing.assert_allclose(np.array(found["cosine"])[good], expected, rtol=1e-5)
    assert np.flatnonzero(~np.isnan(found["cosine"])).tolist() == good
    monkeypatch.setattr(scores, "BLOCK_BYTES", 3 * 16)  # three pairs a block
    np.testing.assert_array_equal(run("blocks")["cosine"], found["cosine"])
    assert asked[0] == 5
    assert max(asked[1:]) <= 3
