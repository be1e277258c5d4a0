#!/usr/bin/env bash
# Everything that must hold: lint, format, types, documentation, tests with coverage. Python 3.11 or newer.
#   bash scripts/test.sh [arguments of pytest]
# The tests run in two processes of one thread each; `-n 0` runs them in one. Tests marked slow are left out here and
# run by `.ci/run`, or with `-m "slow or not slow"`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment="${ROBUSTCMR_VENV:-.venv}"
[ -x "$environment/bin/python" ] || "${PYTHON:-python3}" -m venv "$environment"
"$environment/bin/python" -m pip install --quiet --constraint constraints.txt --editable '.[test,docs]'
# a third-party package, found through its entry points
"$environment/bin/python" -m pip install --quiet --no-deps --no-build-isolation tests/third_party

"$environment/bin/ruff" check .
"$environment/bin/ruff" format --check .
"$environment/bin/mypy"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
site="$(mktemp -d)"  # an empty folder, as pages already built would not repeat their warnings
trap 'rm -rf "$site"' EXIT
"$environment/bin/python" -m sphinx -W --keep-going -q docs "$site"
"$environment/bin/python" -m pytest -n 2 --dist loadfile -m "not slow" --cov --cov-report=term:skip-covered --cov-fail-under=90 "$@"
