# shellcheck shell=bash
# Sourced by the scripts of this folder: `run WORD...` is `surrogates generate WORD...`, run as often as
# is worth it. See README.md here.
set -euo pipefail

fruitless_limit=3 # deaths in a row, without a sample more on the disk, that end the job

say() { echo "slurm: $*" >&2; }
die() {
    echo "error: $*" >&2
    exit 2
}

# The last --out among the words, as argparse takes it.
out_of() {
    local out=""
    while [ $# -gt 0 ]; do
        case "$1" in
        --out=*) out="${1#--out=}" ;;
        --out) out="${2:-}" ;;
        esac
        shift
    done
    [ -n "$out" ] || die "give the dataset's name, as in: ${0##*/} dcr --samples 10000 --out dcr.h5"
    echo "$out"
}

scripts="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
if ! command -v surrogates >/dev/null; then
    python="$("$scripts/setup.sh" | tail -n 1)"
    export PATH="${python%/*}:$PATH"
fi
# shellcheck source=scripts/mpi.sh
. "$scripts/mpi.sh"

# Rank 0 compiles the forms first, the others load what it has made: a folder that all nodes see, and
# that stays, so that it happens once. Home folders are often slow or read-only on compute nodes.
export XDG_CACHE_HOME="${XDG_CACHE_HOME:-${SCRATCH:-$HOME}/.cache}"

if [ -n "${LAUNCH:-}" ]; then
    read -ra launch <<<"$LAUNCH"
elif [ -n "${SLURM_JOB_ID:-}" ]; then
    # A rank that dies takes the others with it within a minute. Not at once (--kill-on-bad-exit):
    # that would kill ranks which are about to exit with a code of their own, and lose the code.
    launch=(srun --kill-on-bad-exit=0 --wait=60)
else
    launch=(mpirun -n 2)
fi

# Slurm warns the batch shell alone (--signal=B:USR1@...), once: it remembers that time is short, and
# hands the signal on to srun or mpirun, and they to the ranks, which end after their samples in flight.
step="" stopping="" interrupted=""
stop() {
    stopping=yes interrupted=yes
    if [ -n "$step" ]; then kill -USR1 "$step" 2>/dev/null || true; fi
}
trap stop USR1 TERM INT HUP

# Bytes of what dead runs leave for the next: finished samples, and marks of those that crashed.
saved() {
    { find "$1.parts" \( -name 'shard-*' -o -name 'mark-*' \) -printf '%s\n' 2>/dev/null || true; } |
        awk '{ sum += $1 } END { print sum + 0 }'
}

# Sets code. A shell acts on a signal only while it waits for a process in the background; a session of
# the step's own keeps the terminal's Ctrl-C from ending ranks in the midst of a sample.
attempt() {
    setsid "${launch[@]}" surrogates generate "$@" </dev/null &
    step=$!
    if [ -n "$stopping" ]; then stop; fi
    while :; do
        interrupted=""
        code=0
        wait "$step" || code=$?
        if [ -z "$interrupted" ]; then break; fi
    done
    step=""
}

# Back to the queue, unless the job has been cancelled. A task of an array goes by its own name: the
# plain number of one of them is that of the array, and would requeue all.
requeue() {
    local job="${SLURM_JOB_ID}"
    if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then job="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"; fi
    scontrol requeue Incomplete "$job" || say "could not requeue job $job: submit it again to go on"
}

# Returns the code of `surrogates generate` that the job ends with.
run() {
    local out start best now fruitless=0
    out="$(out_of "$@")" || exit 2
    start="$(saved "$out")" best="$start"
    while :; do
        attempt "$@"
        case "$code" in 0 | 1 | 2) return "$code" ;; esac
        now="$(saved "$out")"
        if [ "$code" = 75 ] || [ -n "$stopping" ]; then
            if [ -z "${SLURM_JOB_ID:-}" ]; then
                say "stopped: run the same command again to go on"
            elif [ "$now" -gt "$start" ]; then
                requeue
            else
                say "stopped before a sample was finished: give the job more time, then submit it again"
            fi
            return 75
        fi
        if [ "$now" -gt "$best" ]; then best="$now" fruitless=0; else fruitless=$((fruitless + 1)); fi
        if [ "$fruitless" = "$fruitless_limit" ]; then
            say "the run died $fruitless times in a row (exit code $code) without finishing a sample"
            return "$code"
        fi
        say "the run died (exit code $code): starting it again"
    done
}
