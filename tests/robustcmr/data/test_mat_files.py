"""MATLAB files, whole and damaged: a crash of their reader is one sentence."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from robustcmr.data import mat_files
from robustcmr.data.array_files import array_names, read_array
from robustcmr.errors import DataError

FLAGS = 128 + 8 + 8  # header of the file, of the first array, and of its flags: then class and flags
ARRAYS = {
    "image": np.arange(12, dtype=np.float32).reshape(3, 4),
    "sparse": scipy.sparse.csc_matrix(np.eye(4)),
}


@pytest.fixture
def mat(tmp_path):
    def write(arrays=ARRAYS, **options):
        scipy.io.savemat(tmp_path / "a.mat", arrays, **options)
        return tmp_path / "a.mat"

    return write


@pytest.mark.parametrize("options", [{}, {"do_compression": True}, {"format": "4"}], ids=["5", "packed", "4"])
def test_arrays_are_read_as_scipy_reads_them(mat, options):
    arrays = {name: array for name, array in ARRAYS.items() if "format" not in options or name == "image"}
    path = mat(arrays, **options)
    found = scipy.io.loadmat(path)
    for name in arrays:
        array, expected = read_array(path, name), found[name]
        expected = expected.toarray() if scipy.sparse.issparse(expected) else expected
        assert array.dtype == expected.dtype
        assert np.array_equal(array, expected)


def test_other_content_is_named(mat):
    path = mat({"c": np.array([[1j]]), "t": "text", "o": np.array([{"x": 1}], dtype=object)})
    for name, content in (("c", "complex numbers"), ("t", "a MATLAB char"), ("o", "a MATLAB cell")):
        with pytest.raises(
            DataError, match=f"holds {content} under '{name}'; expected an array of plain numb"
        ):
            read_array(path, name)
    assert array_names(path) == {"c": "1x1", "t": "1", "o": "1x1"}


@pytest.mark.parametrize("value", [0x08, 0x0C, 0x0E, 0xFF])  # 0x08 says that the numbers are complex
def test_a_wrong_byte_of_flags_crashes_nothing(mat, value):
    path = mat({"image": ARRAYS["image"]})
    content = bytearray(path.read_bytes())
    content[FLAGS + 1] = value
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.mat is truncated or damaged|complex numbers") as caught:
        read_array(path, "image")
    assert "\n" not in str(caught.value)


CRASHES = {
    "killed": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "its reader crashed, SIGSEGV"),
    "stopped": ("raise SystemExit(3)", "its reader crashed, exit code 3"),
    "endless": ("while True: print('[' * 10000, end='')", "it lists too many arrays"),
    "cut short": (
        'print(\'{"arrays": {"a": [[2], "double"]}, "stored": "f"}\')\n'
        "import sys, numpy as np\nsys.stdout.flush()\n"
        "np.lib.format.write_array_header_1_0(sys.stdout.buffer, "
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2,)})",
        "its reader crashed",
    ),
    "memory": ('print(\'{"error": "it needs more than 7 bytes of memory"}\')', "needs more than 7 bytes"),
}


@pytest.mark.parametrize(("program", "words"), CRASHES.values(), ids=CRASHES)
def test_a_reader_that_dies_is_one_sentence(mat, monkeypatch, tmp_path, program, words):
    path = mat({"a": np.eye(2)})
    (tmp_path / "child.py").write_text(program)
    monkeypatch.setattr(mat_files, "_CHILD", tmp_path / "child.py")
    with pytest.raises(DataError, match=f"truncated or damaged .*{words}") as caught:
        read_array(path, "a")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="other systems do not refuse address space")
def test_a_reader_may_not_take_all_memory(mat, monkeypatch):
    path = mat({"a": np.zeros((3000, 3000))}, do_compression=True)  # 72 MB in 72 kB
    monkeypatch.setattr(mat_files, "MEMORY", 2**20)
    with pytest.raises(DataError, match=r"it needs more than [\d,]+ bytes of memory|its reader crashed"):
        read_array(path, "a")


def test_no_module_beside_the_user_is_imported(mat, monkeypatch, tmp_path):
    path = mat({"a": np.eye(2)})
    (tmp_path / "scipy.py").write_text(f"import os; os.kill({os.getpid()}, {int(signal.SIGKILL)})")
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(read_array(path, "a"), np.eye(2))
