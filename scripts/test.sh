#!/usr/bin/env bash
# Everything that must hold: lint, format, types, tests with coverage. Extra arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment="${ROBUSTCMR_VENV:-.venv}"
[ -x "$environment/bin/python" ] || "${PYTHON:-python3}" -m venv "$environment"
"$environment/bin/python" -m pip install --quiet --constraint constraints.txt --editable '.[test]'
# what a third party would publish, found by name like any installed package
"$environment/bin/python" -m pip install --quiet --no-deps --no-build-isolation tests/third_party

"$environment/bin/ruff" check .
"$environment/bin/ruff" format --check .
"$environment/bin/mypy"
exec "$environment/bin/python" -m pytest --cov --cov-report=term:skip-covered --cov-fail-under=90 "$@"
