"""Errors a user can cause. Each message says what was given, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Sequence


class UserError(Exception):
    """A mistake in the input; the command line prints only its message and exits with code 2."""


class ConfigError(UserError):
    """The configuration does not fit the schema; all problems are listed at once."""


class TrustError(UserError):
    """A file made elsewhere names code to run, and nobody consented to that."""


class ArgumentError(UserError):
    """An argument of a Python call has the wrong type or value."""


class UnknownNameError(ArgumentError, AttributeError):
    """An attribute that does not exist; also an AttributeError, so that ``hasattr`` works."""


class DataError(UserError):
    """A file or folder of data is missing, damaged or inconsistent."""


class PluginError(UserError):
    """A matcher, method or data set is unknown, broken or named twice."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged or of another architecture."""


class RunFolderError(UserError):
    """A run folder is missing, or already holds a run."""


class LockError(UserError):
    """A file or folder cannot be locked."""


class InUseError(LockError):
    """Another process holds the lock of a file or folder."""


class ComparisonError(UserError):
    """Runs or published figures cannot be compared."""


class SweepError(UserError):
    """A sweep file, a sweep folder or an executor cannot be used; all problems are listed at once."""


class DeviceError(UserError):
    """The requested device or precision is not available on this machine."""


class TrainingDivergedError(UserError):
    """The loss stopped being a finite number."""


class InfeasibleTransportError(UserError):
    """A transport problem has no solution: a side is empty, or the requested mass does not fit."""


def some_of(names: Sequence[str], most: int = 8) -> str:
    """Return the first few names, and how many more there are, for a message."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
