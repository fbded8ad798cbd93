#!/bin/sh
# Hundreds of kills (SIGKILL) at random moments while cameras go on: of senders with a spool, of two commands and two
# watched folders, one of each with a deadline; of a program that pushes frames; and of the receiver, which stays away for a
# while now and then. Each frame that was captured is stored or declared in the end, at both ends.
#
#     tests/crash/live.sh [KILLS [SEED]]
#
# Each run of twelve prints the seed that repeats it.
set -eu
cd "$(dirname "$0")/../.."
CRASH_KILLS="${1:-300}"
export CRASH_KILLS
if [ $# -ge 2 ]; then
    export CRASH_SEED="$2"
fi
exec cargo test --test e2e -- --ignored --nocapture --exact crash_live::hundreds_of_kills
