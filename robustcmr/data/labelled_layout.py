"""From options and file names to where the arrays of each split are."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from robustcmr.data.folder import listing
from robustcmr.data.labelled_files import SUFFIXES, array_names
from robustcmr.data.labelled_options import LabelledOptions, SplitPlaces
from robustcmr.data.labelled_rows import in_order
from robustcmr.data.labelled_table import Place, Table, TextList
from robustcmr.errors import DataError


class Layout:
    """Where the columns of each split are.

    Args:
        config: what was said about it.
        dealt: splits that one block of rows is divided into; empty where each split has arrays of its own.

    Raises:
        DataError: there is no such file or folder, or it has not what is expected.
    """

    def __init__(self, config: LabelledOptions, dealt: Collection[str]) -> None:
        self._config = config
        self._root = config.root
        self._divided = bool(dealt)
        self.folder = folder_of(config.root)
        names = self._names(dealt)
        self.tables = {name: self._table(name, config.splits.get(name, SplitPlaces())) for name in names}
        if "train" not in self.tables:
            raise DataError(
                f"{self._root} has no train split, which tells the classes; it has {', '.join(self.tables)}"
            )
        for table in self.tables.values():
            for place in (table.image, table.text, table.label):
                if not place.file.is_file():
                    raise DataError(
                        f"there is no file {place.file}; {self.folder} has {listing(self.folder)}"
                    )

    def _names(self, dealt: Collection[str]) -> tuple[str, ...]:
        root = self._root
        if self._config.splits or dealt:
            return in_order(self._config.splits or dealt)
        if not root.is_dir():
            there = ", ".join(f"{name} {shape}" for name, shape in array_names(root).items())
            raise DataError(
                f"{root} is one file, with {there or 'nothing in it'}; say by splits, split_file or "
                "split_sizes which pairs are train, dev and test"
            )
        found = {path.stem for path in root.iterdir() if path.suffix.lower() in SUFFIXES}
        if not found & {"train", "dev", "test"}:
            raise DataError(
                f"the data folder {root} has {listing(root)}; expected train, dev and test as .npz, .mat or "
                ".h5 files, or other files named under splits; name the folder with --data-root"
            )
        return in_order(found & {"train", "dev", "test"})

    def _table(self, name: str, given: SplitPlaces) -> Table:
        config = self._config
        label_file = given.label_file
        if label_file is None and given.label is None:
            label_file = config.label_file
        label: Place | TextList
        if label_file is not None:
            label = TextList(self.folder / label_file.replace("{split}", name), config.label_column)
        else:
            label = self._place(name, given.label or config.label, given.file)
        return Table(
            self._place(name, given.image or config.image, given.file),
            self._place(name, given.text or config.text, given.file),
            label,
        )

    def _place(self, name: str, given: str, file: str | None) -> Place:
        own, _, key = given.replace("{split}", name).rpartition(":")
        if own:
            return Place(self.folder / own, key)
        return Place(self._file(name) if file is None else self.folder / file.replace("{split}", name), key)

    def _file(self, name: str) -> Path:
        """The file a split's arrays are in where nothing else is said."""
        root = self._root
        if not root.is_dir():
            return root
        if self._divided:
            raise DataError(
                f"{root} is a folder, but split_file and split_sizes divide one file; name that file by "
                "root, or write image, text and label as FILE:NAME"
            )
        found = sorted(path for path in root.glob(f"{name}.*") if path.suffix.lower() in SUFFIXES)
        if len(found) > 1:
            raise DataError(f"{root} has {' and '.join(p.name for p in found)}; keep one file of a split")
        if not found:
            raise DataError(
                f"{root} has no file for the {name} split, it has {listing(root)}; expected {name}.npz, "
                f"{name}.mat or {name}.h5, or another under splits.{name}.file"
            )
        return found[0]


def folder_of(root: Path) -> Path:
    """The folder other files are named in: ``root`` itself, or the one its file lies in.

    Raises:
        DataError: there is no such file or folder.
    """
    if not root.exists():
        raise DataError(f"{root} does not exist; name a folder or file of labelled features by --data-root")
    return root if root.is_dir() else root.parent
