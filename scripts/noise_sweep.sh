#!/usr/bin/env bash
# Hinge, InfoNCE, RCE and robust over five noise rates on the embedded scenes, then their comparison.
#   bash scripts/noise_sweep.sh             60 runs of the default length: hours on two cores
#   bash scripts/noise_sweep.sh --quick     40 short runs on few scenes: minutes on two cores
# It can be stopped and restarted. Further arguments go to `robustcmr sweep run`, such as --jobs 4.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment="${ROBUSTCMR_VENV:-.venv}"
[ -x "$environment/bin/robustcmr" ] && PATH="$environment/bin:$PATH"
sweep=noise_rates
if [ "${1:-}" = "--quick" ]; then
  sweep=noise_rates_quick
  shift
fi
cores="$(getconf _NPROCESSORS_ONLN)"

robustcmr sweep run "$sweep" --jobs "$((cores < 4 ? cores : cores / 2))" "$@"
robustcmr sweep report "sweeps/$sweep"
