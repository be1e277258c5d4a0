"""Noise for image-text pairs: make, read, write, describe, verify and apply it, with NumPy alone.

    python -m noise_injection make --captions 145000 --ratio 0.4 --seed 96 --output noise.npz
    python -m noise_injection make-labels --labels true.npy --ratio 0.4 --seed 96 --output labels.npz

``noise_injection.mismatch`` defines the rules by which pairs are mismatched, ``noise_injection.labels`` those
by which class labels are made wrong.

Every function raises ``NoiseError`` if an argument is out of range, if arrays do not fit each other, or if a
file is missing, damaged, altered, or made for other data.
"""

from noise_injection.apply import given_pairs, read_captions, read_names, write_table
from noise_injection.checks import LABEL_KINDS, PROTOCOLS, NoiseError, regular_truth
from noise_injection.describe import (
    LabelDescription,
    NoiseDescription,
    describe,
    describe_labels,
    to_caption_rows,
)
from noise_injection.files import (
    NoiseFile,
    load_label_noise,
    load_noise,
    read_noise_file,
    save_label_noise,
    save_noise,
)
from noise_injection.labels import make_label_noise
from noise_injection.mismatch import make_mismatch
from noise_injection.records import LabelNoiseRecord, NoiseRecord, index_sha256
from noise_injection.verify import Verification, verify, verify_labels, verify_record

__all__ = [
    "LABEL_KINDS",
    "PROTOCOLS",
    "LabelDescription",
    "LabelNoiseRecord",
    "NoiseDescription",
    "NoiseError",
    "NoiseFile",
    "NoiseRecord",
    "Verification",
    "describe",
    "describe_labels",
    "given_pairs",
    "index_sha256",
    "load_label_noise",
    "load_noise",
    "make_label_noise",
    "make_mismatch",
    "read_captions",
    "read_names",
    "read_noise_file",
    "regular_truth",
    "save_label_noise",
    "save_noise",
    "to_caption_rows",
    "verify",
    "verify_labels",
    "verify_record",
    "write_table",
]
