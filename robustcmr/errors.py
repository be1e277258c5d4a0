"""The errors a user can cause, each with one sentence: what was given, what was expected and what to do."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in what the user gave; the command line prints its message alone and exits with code 2."""


class ConfigError(UserError):
    """The configuration does not fit the schema; every problem found is listed at once."""


class DataError(UserError):
    """A file or folder of data is missing, damaged or inconsistent."""


class PluginError(UserError):
    """A matcher, method or data set is unknown, broken or named twice."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged or of another architecture."""


class RunFolderError(UserError):
    """A run folder is missing, or already holds a run."""


class ComparisonError(UserError):
    """Runs or published figures cannot be set beside each other."""


class DeviceError(UserError):
    """The device or precision asked for is not available on this machine."""


class TrainingDivergedError(UserError):
    """The loss stopped being a finite number."""


class InfeasibleTransportError(UserError):
    """A transport problem has no solution: a side is empty, or more mass is asked for than fits."""
