"""What a comparison lacks, in sentences."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence

from robustcmr.errors import some_of
from robustcmr.reporting.compared import FINISHED, PlannedRun


def incompleteness(planned: Sequence[PlannedRun]) -> list[str]:
    """Return how many planned runs are missing, which, and each choice of a sweep that is missing altogether.

    Empty if all have finished.
    """
    missing = [run for run in planned if run.state != FINISHED]
    if not missing:
        return []
    states = ", ".join(f"{count} {state}" for state, count in Counter(run.state for run in missing).items())
    verb = "is" if len(missing) == 1 else "are"
    return [
        f"INCOMPLETE: {len(missing)} of {len(planned)} planned runs {verb} missing ({states}), so ranks, the "
        f"best rows and differences are provisional: {some_of([run.path.name for run in missing])}.",
        *_whole_choices(planned),
        *(
            f"Finish them: robustcmr sweep resume {shlex.quote(str(sweep))}"
            for sweep in dict.fromkeys(run.sweep for run in missing)
        ),
    ]


def _whole_choices(planned: Sequence[PlannedRun]) -> Iterator[str]:
    """A sentence for each choice of which no run has finished, where another choice has one."""
    for sweep in dict.fromkeys(run.sweep for run in planned):
        runs = [run for run in planned if run.sweep == sweep]
        for axis in dict.fromkeys(axis for run in runs for axis in run.choices):
            by_label: dict[str, list[PlannedRun]] = {}
            for run in runs:
                if axis in run.choices:
                    by_label.setdefault(str(run.choices[axis]), []).append(run)
            for label, those in by_label.items():
                if len(by_label) > 1 and all(run.state != FINISHED for run in those):
                    all_of = "the only planned run" if len(those) == 1 else f"all {len(those)} planned runs"
                    yield f"Missing altogether: {all_of} of {axis} {label}."
