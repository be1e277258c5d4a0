#!/usr/bin/env bash
# First results on a fresh machine: virtual environment, install, then training on the embedded data.
#   bash scripts/quickstart.sh [arguments of `robustcmr train`]      default: --noise 0.4 --output runs/first
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment="${ROBUSTCMR_VENV:-.venv}"
if [ ! -x "$environment/bin/python" ]; then
  "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    { echo "robustcmr needs Python 3.11 or newer, such as PYTHON=python3.12 bash scripts/quickstart.sh" >&2; exit 2; }
  "${PYTHON:-python3}" -m venv "$environment"
fi
"$environment/bin/python" -m pip install --quiet --constraint constraints.txt --editable .

if [ "$#" -eq 0 ]; then
  set -- --noise 0.4
  if [ ! -e runs/first ]; then set -- "$@" --output runs/first; fi
fi
"$environment/bin/robustcmr" train "$@"
echo "'source $environment/bin/activate' makes robustcmr a command of this shell."
