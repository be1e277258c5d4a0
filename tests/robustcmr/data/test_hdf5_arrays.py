"""Hostile HDF5 files: whatever leads to another file is named and refused before that file is opened."""

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from robustcmr.data import hdf5_arrays
from robustcmr.data.array_files import array_names, read_array
from robustcmr.data.labelled import Labelled
from robustcmr.errors import DataError

A = np.arange(20.0).reshape(4, 5)


@pytest.fixture
def other(tmp_path):
    """A pipe: whoever opens it for reading waits for ever, so a test that ends has not opened it."""
    os.mkfifo(tmp_path / "secret.h5")
    return tmp_path / "secret.h5"


def virtual(file, name, source, rows):
    layout = h5py.VirtualLayout((4, 5), "f8", maxshape=(rows, 5))
    there = h5py.VirtualSource(source, "d", (4, 5), maxshape=(rows, 5))
    if rows is None:  # the library finds out the shape from the source
        layout[: h5py.h5s.UNLIMITED, :] = there[: h5py.h5s.UNLIMITED, :]
    else:
        layout[:] = there
    file.create_virtual_dataset(name, layout)


def external_link(file, name, other):
    file[name] = h5py.ExternalLink(other, "d")


def soft_link(file, name, other):
    file[name] = h5py.SoftLink("/there")
    file["there"] = h5py.ExternalLink(other, "d")


def raw_storage(file, name, other):
    file.create_dataset(name, (4, 5), "f8", external=[(str(other), 0, 160)])


def virtual_dataset(file, name, other):
    virtual(file, name, other, 4)


def growing_virtual_dataset(file, name, other):
    virtual(file, name, other, None)


WAYS = {
    external_link: "'image' of {} is an external link to 'd' of '{}'",
    soft_link: "'image' of {} is a soft link to '/there'",
    raw_storage: "'image' of {} is stored in '{}'",
    virtual_dataset: "'image' of {} is a virtual dataset of '{}'",
    growing_virtual_dataset: "'image' of {} is a virtual dataset of '{}'",
}


def refusal(path, key="image"):
    with pytest.raises(DataError) as caught:
        read_array(path, key)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("suffix", [".h5", ".mat"])
def test_another_file_is_never_opened(tmp_path, other, way, suffix):
    path = tmp_path / f"train{suffix}"
    with h5py.File(path, "w", userblock_size=512 if suffix == ".mat" else 0) as file:
        file["text"], file["label"] = A, np.arange(4)
        way(file, "image", other)
    if suffix == ".mat":
        with path.open("r+b") as raw:
            raw.write(b"MATLAB 7.3 MAT-file")
    expected = WAYS[way].format(path, other)
    assert refusal(path).startswith(expected + "; arrays are read from the file itself alone, so store ")
    shown = expected.removeprefix(f"'image' of {path} is ")
    assert array_names(path)["image"] == f"({shown})"
    # other arrays of the file stay readable, and the whole reader says the same
    assert read_array(path, "text").size == 20
    with pytest.raises(DataError, match=f"^{expected[:20]}"):
        Labelled(Labelled.Config(root=tmp_path)).split("train")


def test_a_key_does_not_pass_through_a_linked_group(tmp_path, other):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group"] = h5py.ExternalLink(other, "/")
    expected = f"has no array 'group/d'; it has group (an external link to '/' of '{other}')"
    assert refusal(tmp_path / "a.h5", "group/d").endswith(expected)


def test_many_sources_and_long_names_are_cut_short(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        layout = h5py.VirtualLayout((20, 5), "f8")
        for i in range(20):
            layout[i] = h5py.VirtualSource(f"{i:02}.h5", "d", (5,))
        file.create_virtual_dataset("image", layout)
        file["long"] = h5py.SoftLink("x" * 5000)
    assert "'07.h5' and 12 more; " in refusal(tmp_path / "a.h5")
    assert len(refusal(tmp_path / "a.h5", "long")) < 700


def test_names_within_the_file_work_as_before(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group/x"] = A
        file["same"] = file["group/x"]
        file["group/cycle"] = file["/"]
        file.create_dataset("packed", data=A, compression="gzip", shuffle=True, fletcher32=True)
        file.create_dataset("quick", data=A, compression="lzf")
        file["kind"] = np.dtype("f4")
    shapes = {"group/x": "4x5", "same": "4x5", "packed": "4x5", "quick": "4x5"}
    assert array_names(tmp_path / "a.h5") == shapes
    for key in shapes:
        np.testing.assert_array_equal(read_array(tmp_path / "a.h5", key), A)


def test_no_plugin_is_loaded_for_a_filter(tmp_path, monkeypatch):
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((4, 5))
    made.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (1,))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        given = b"image", h5py.h5t.NATIVE_DOUBLE, h5py.h5s.create_simple((4, 5)), made
        h5py.h5d.create(file.id, *given).write_direct_chunk((0, 0), b"packed" * 9)
    text = refusal(tmp_path / "a.h5")
    assert "needs the HDF5 filter 32001 '', and no plugin is loaded because a file asks for it" in text
    assert text.endswith("store it again, such as with compression='gzip' of h5py")


@pytest.mark.parametrize(
    ("kind", "held"),
    [
        (h5py.ref_dtype, "references to other objects"),
        (h5py.regionref_dtype, "references to other objects"),
        (h5py.vlen_dtype(np.float64), "objects"),
        (np.dtype([("a", "f4")]), "records"),
    ],
    ids=["reference", "region", "lists", "record"],
)
def test_what_is_no_number_is_not_even_read(tmp_path, kind, held):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("image", (2**40,), kind, chunks=(1024,))  # terabytes, if it were read
    assert f"holds {held} under 'image'; expected an array of plain numbers" in refusal(tmp_path / "a.h5")


def test_arrays_without_numbers(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = h5py.Empty("f4")
        file.create_dataset("text", (4, 5), "f4")  # would read as zeros
        file.create_dataset("none", (0, 5), "f4")
    assert "holds nothing under 'image'" in refusal(tmp_path / "a.h5")
    assert "was never written, its storage is empty; write the file again" in refusal(
        tmp_path / "a.h5", "text"
    )
    assert read_array(tmp_path / "a.h5", "none").shape == (0, 5)


def test_more_than_the_memory_is_refused_before_it_is_taken(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("image", (2**40,), "f8", chunks=(1024,))[0] = 1.0  # a few kilobytes
    text = refusal(tmp_path / "a.h5")
    assert "takes 8192.0 GiB of memory, and " in text
    assert text.endswith("GiB are free; store it neither chunked nor compressed, to stay on disk")


@pytest.mark.parametrize("depth", [hdf5_arrays.DEEPEST, 20_000])
def test_groups_within_groups(tmp_path, depth):
    """The library's own walk ends the process by a stack overflow at such depths."""
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        group = file
        for _ in range(depth):
            group = group.create_group("g")
        group["x"] = 1.0
    if depth == hdf5_arrays.DEEPEST:
        assert array_names(tmp_path / "a.h5") == {"g/" * depth + "x": "a single value"}
        return
    assert "has groups more than 32 deep; store its arrays further up" in refusal(tmp_path / "a.h5")


def test_a_file_that_another_program_writes(tmp_path):
    path = tmp_path / "a.h5"
    program = "import h5py, sys; file = h5py.File(sys.argv[1], 'w'); print('open', flush=True); input()"
    given = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(given, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        writer.stdout.readline()
        file_is_busy = refusal_of_names(path)
        writer.communicate("\n")
    assert file_is_busy.endswith("a.h5 is being written by another program; read it when that has ended")


def refusal_of_names(path):
    with pytest.raises(DataError) as caught:
        array_names(path)
    return str(caught.value)
