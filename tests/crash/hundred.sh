#!/bin/sh
# A hundred transfers over loopback in which sender or receiver is killed with SIGKILL at random
# moments and started again, each ending with every frame stored once, byte for byte.
#
#     tests/crash/hundred.sh [--durable] [RUNS [SEED]]
#
# Each run prints the seed that repeats it.
set -eu
if [ "${1:-}" = --durable ]; then
    export CRASH_DURABLE=1
    shift
fi
cd "$(dirname "$0")/../.."
CRASH_RUNS="${1:-100}"
export CRASH_RUNS
if [ $# -ge 2 ]; then
    export CRASH_SEED="$2"
fi
exec cargo test --test e2e -- --ignored --nocapture --exact crash::a_hundred_runs
