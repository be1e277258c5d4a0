"""NumPy files that promise more than they hold, and what is no NumPy file at all."""

import io
import os
import zipfile

import numpy as np
import pytest

from noise_injection import NoiseError, checks, make_label_noise, make_mismatch
from noise_injection.apply import read_captions
from noise_injection.commands import data_of
from noise_injection.files import read_array, read_noise_file
from noise_injection.reading import load_arrays, npy_header
from noise_injection.records import LabelNoiseRecord, NoiseRecord


def header(shape, descr="<i8", fortran=False, version=(1, 0)):
    """The first bytes of a ``.npy`` that says this."""
    text = f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    size = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + size + text.encode()


BAD_HEADERS = {
    "promises a terabyte": header((2**37,)) + b"\0" * 80,
    "negative": header((-5,)) + b"\0" * 80,
    "negative twice": header((-5, -2)) + b"\0" * 80,
    "of no size": header((2**60,), "|S0"),
    "objects": header((3,), "|O") + b"\0" * 80,
    "nested": b"\x93NUMPY\x01\x00\x10\x27" + b"(" * 9999 + b"\n",
    "words": b"\x93NUMPY\x01\x00\x10\x00" + b"import os\n" + b" " * 6,
    "short": b"\x93NUMPY\x01\x00\xff\xff{",
    "open bracket": header((3,)).replace(b")", b" ") + b"\0" * 80,
    "open quote": header((3,)).replace(b"'shape'", b"'shape ") + b"\0" * 80,
    "mark alone": b"\x93NUMPY",
}


@pytest.mark.parametrize("content", BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_a_header_that_cannot_be_is_refused(tmp_path, content):
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    for read in (read_noise_file, lambda file: read_array(file, "label file")):
        with pytest.raises(NoiseError, match=r"a\.npy") as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_a_header_that_cannot_be_is_a_value_error(content):
    with pytest.raises(ValueError, match=r"\w"):
        load_arrays(io.BytesIO(content))


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_a_true_header_is_read(version):
    found = npy_header(io.BytesIO(header((2, 3), "<f4", version=version)))
    assert found == ((2, 3), False, np.dtype("<f4"))
    assert found.nbytes == 24


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)


def test_an_archive_that_promises_more_than_it_holds_is_refused(tmp_path):
    path = tmp_path / "noise.npz"
    archive(path, **{"index.npy": header((2**37,)) + b"\0" * 80, "record.npy": header((), "<U2") + b"\0" * 8})
    with pytest.raises(NoiseError, match="is damaged or incomplete"):
        read_noise_file(path)
    with path.open("rb") as file, pytest.raises(ValueError, match=r"header of index\.npy promises more"):
        load_arrays(file)


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "noise.npz"
    np.savez_compressed(path, index=np.zeros(200_000, np.int64))
    with path.open("rb") as file:
        assert load_arrays(file)["index"].size == 200_000
    monkeypatch.setattr("noise_injection.reading.INFLATED_BYTES", 1000)
    with path.open("rb") as file, pytest.raises(ValueError, match=r"[\d,]+ bytes in it unpack to 1,600,128"):
        load_arrays(file)


@pytest.mark.parametrize("new", [True, False])
def test_a_file_of_torch_is_called_that(tmp_path, new):
    torch = pytest.importorskip("torch")
    torch.save(torch.arange(10), tmp_path / "noise.npz", _use_new_zipfile_serialization=new)
    with pytest.raises(NoiseError, match=r"was written by torch\.save, expected a noise file .* numpy\.save"):
        read_noise_file(tmp_path / "noise.npz")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{", "[1]", '"x"', "null", "{}", '{"format": 1}', '{"a": "\\ud800"}', "9" * 5000]
)
def test_a_record_of_another_form_is_refused(tmp_path, text):
    np.savez(tmp_path / "noise.npz", index=np.arange(4), record=np.array(text))
    with pytest.raises(NoiseError, match=r"noise\.npz") as caught:
        read_noise_file(tmp_path / "noise.npz")
    assert "\n" not in str(caught.value)


def test_text_that_never_ends_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "captions.txt")
    with pytest.raises(NoiseError, match=r"cannot read .*it is a named pipe"):
        read_captions(tmp_path / "captions.txt")
    with pytest.raises(NoiseError, match=r"cannot read /dev/zero: it is a device"):
        read_captions("/dev/zero")
    with pytest.raises(NoiseError, match=r"cannot read /dev/zero: it is a device"):
        read_noise_file("/dev/zero")


def test_no_memory_is_taken_for_classes_and_images_that_only_a_number_names(tmp_path):
    labels = np.array([0, 1, 2**40])
    with pytest.raises(NoiseError, match=r"number of classes is 1099511627777; expected at most 1000000"):
        make_label_noise(labels, 2**40 + 1, 0.5, "symmetric", 0)
    np.save(tmp_path / "truth.npy", labels)
    with pytest.raises(NoiseError, match="3 captions of 1099511627777 images; expected at most 10000000"):
        data_of(None, None, tmp_path / "truth.npy")
    with pytest.raises(NoiseError, match="the number of captions is 1000000000000; expected at most"):
        checks.regular_truth(10**12, 5)
    _, record = make_mismatch(np.arange(20) // 5, 4, 0.4, "caption", seed=0)
    with pytest.raises(NoiseError, match="n_images"):
        NoiseRecord.from_dict({**record.to_dict(), "n_images": 2**40})
    _, record = make_label_noise(np.arange(20) % 4, 4, 0.4, "symmetric", 0)
    with pytest.raises(NoiseError, match="n_classes"):
        LabelNoiseRecord.from_dict({**record.to_dict(), "n_classes": 2**40})
