#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# usage: tidy.sh BUILD_FOLDER [RESULTS.tsv [SOURCE...]]
# clang-tidy over every source of the library and the program, or those that are named; the checks
# are in .clang-tidy.
set -u
cd "$(dirname "$0")/.."
folder=$1
results=${2:-/dev/null}
sources=("${@:3}")
[ ${#sources[@]} -gt 0 ] || sources=(src/*.c src/*/*.c cli/*.c)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

command -v clang-tidy >/dev/null || { echo 'tidy.sh: no clang-tidy here' >&2; exit 3; }
# gcc's options that clang does not know are no findings, nor is what Python's headers hold.
sed -E 's/ -fdiagnostics-color=[a-z]+//; s/ -f(schedule-insns|sched-pressure)//g
        s/"command": "ccache /"command": "/; s/-I([^ ]*\/include\/[^ ]*python3)/-isystem \1/g' \
    "$folder/compile_commands.json" >"$work/compile_commands.json"

status=0
check() { # FILE
    local log extra=(--extra-arg=-Wno-unknown-warning-option)
    case $1 in
    src/base/error.c | cli/* | python/*) ;; # defines them; does not have them
    *) extra+=(--extra-arg=-include --extra-arg="$PWD/scripts/tidy.h"
        --extra-arg=-Wno-unused-value) ;;
    esac
    log=$work/$(echo "$1" | tr / _).log
    clang-tidy -p "$work" --quiet "${extra[@]}" "$1" >"$log" 2>&1
    echo $? >"$log.status"
}
export -f check
export work
printf '%s\n' "${sources[@]}" |
    xargs -P "$(nproc)" -I{} bash -c 'check {}'
for log in "$work"/*.log; do
    name=$(basename "$log" .log)
    if [ "$(cat "$log.status")" -eq 0 ]; then
        printf 'tidy %s\tpassed\n' "$name" >>"$results"
    else
        printf 'tidy %s\tfailed\n' "$name" >>"$results"
        grep -E 'warning:|error:' "$log" || cat "$log"
        status=1
    fi
done
[ $status -ne 0 ] || echo 'ok: clang-tidy'
exit $status
