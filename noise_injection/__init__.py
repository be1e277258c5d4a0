"""Noise for image-text pairs: made, read, written, described, verified and applied, with NumPy alone.

    python -m noise_injection make --captions 145000 --ratio 0.4 --seed 96 --output noise.npz

    python -m noise_injection make-labels --labels true.npy --ratio 0.4 --seed 96 --output labels.npz

The rules by which pairs are mismatched are told in ``noise_injection.mismatch``, those by which class labels
are made wrong in ``noise_injection.labels``.
"""

from __future__ import annotations

from noise_injection.apply import given_pairs, read_captions, read_names, write_table
from noise_injection.checks import PROTOCOLS, regular_truth
from noise_injection.describe import NoiseDescription, describe, to_caption_rows
from noise_injection.errors import NoiseError
from noise_injection.files import NoiseFile, load_noise, read_noise_file, save_noise
from noise_injection.label_checks import LABEL_KINDS
from noise_injection.label_describe import LabelDescription, describe_labels
from noise_injection.label_files import LabelNoiseFile, load_label_noise, read_label_file, save_label_noise
from noise_injection.label_records import LabelNoiseRecord
from noise_injection.label_verify import LabelVerification, verify_labels
from noise_injection.labels import make_label_noise
from noise_injection.mismatch import make_mismatch
from noise_injection.records import NoiseRecord, index_sha256
from noise_injection.verify import Verification, verify, verify_record

__all__ = [
    "LABEL_KINDS",
    "PROTOCOLS",
    "LabelDescription",
    "LabelNoiseFile",
    "LabelNoiseRecord",
    "LabelVerification",
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
    "read_label_file",
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
