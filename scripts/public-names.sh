#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: public-names.sh [--map] HEADER
# Prints the functions that the public header declares, or the linker's version script for them.
set -eu
export LC_ALL=C
map=false
[ "$1" != --map ] || { map=true; shift; }

# A declaration starts with HM_API; the name is what stands before the first parenthesis.
names=$(awk '/^HM_API/ { text = ""; taking = 1 }
             taking { text = text " " $0 }
             taking && /;/ { print text; taking = 0 }' "$1" |
    sed -E 's/HM_MUST_USE|HM_API//g; s/\(.*//; s/.*[ *]([a-z_0-9]+)$/\1/' | sort -u)
[ -n "$names" ] || { echo "$1: declares no function" >&2; exit 1; }

if $map; then
    printf 'HALLMARK_0 {\nglobal:\n%s\nlocal:\n    *;\n};\n' "$(echo "$names" | sed 's/.*/    &;/')"
else
    echo "$names"
fi
