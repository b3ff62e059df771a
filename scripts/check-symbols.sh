#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: check-symbols.sh SHARED_LIBRARY STATIC_LIBRARY PUBLIC_HEADER
# The shared library exports exactly the functions of the public header, and every global name in
# the static library has the hm_ prefix.
set -eu
export LC_ALL=C
shared=$1 static=$2 header=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$(dirname "$0")/public-names.sh" "$header" >"$work/public"
nm -D --defined-only "$shared" | awk '{ sub(/@.*/, "", $NF); print $NF }' |
    grep -v '^HALLMARK_' | sort -u >"$work/exported"
nm -g --defined-only "$static" | awk 'NF == 3 { print $3 }' | sort -u >"$work/static"

status=0
complain() { # MESSAGE FILE
    if [ -s "$2" ]; then
        printf '%s:\n' "$1"
        sed 's/^/  /' "$2"
        status=1
    fi
}
comm -23 "$work/exported" "$work/public" >"$work/stray"
comm -13 "$work/exported" "$work/public" >"$work/absent"
grep -v '^hm_' "$work/static" >"$work/foreign" || true
complain "exported by the shared library, but not in the public header" "$work/stray"
complain "in the public header, but not exported by the shared library" "$work/absent"
complain "global in the static library, without the hm_ prefix" "$work/foreign"
[ $status -ne 0 ] || echo "$(wc -l <"$work/public") public functions, no stray name"
exit $status
