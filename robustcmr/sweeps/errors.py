"""What a user can get wrong about a sweep."""

from __future__ import annotations

from collections.abc import Sequence

from robustcmr.errors import UserError


class SweepError(UserError):
    """A sweep file, a sweep folder or a way to run it does not do; every problem found is listed at once."""


def listed(problems: Sequence[str], where: str) -> SweepError:
    """All problems as one error; a single one stands alone.

    Args:
        problems: a sentence each, at least one.
        where: what they are in, such as ``the sweep noise.yaml``.
    """
    if len(problems) == 1:
        return SweepError(f"{where}: {problems[0]}")
    return SweepError("\n  ".join([f"{len(problems)} problems in {where}:", *problems]))
