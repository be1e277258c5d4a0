#!/usr/bin/env bash
# Every method of the pairs track, trained alike; finished runs are rows of scripts/results/leaderboard.csv, which
# docs/leaderboard.md shows. Rows that the CSV has are not run again, so that it can be filled over days and machines.
#   bash scripts/leaderboard.sh --quick                  every method once, few scenes: ten minutes on two idle cores
#   bash scripts/leaderboard.sh --hours 8 --jobs 2       the embedded scenes; no run starts after eight hours
#   bash scripts/leaderboard.sh --data-root DIR          Flickr8K as well: DIR holds its files
# It can be stopped and restarted; `--help` has all options.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment="${ROBUSTCMR_VENV:-.venv}"
[ -x "$environment/bin/python" ] && PATH="$environment/bin:$PATH"
exec python scripts/leaderboard.py "$@"
