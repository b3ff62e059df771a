#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# usage: lint.sh [RESULTS.tsv]
# What a compiler does not see: the order of the rooms, calls that have no place here, headers that
# do not stand alone, formatting. clang-tidy is scripts/tidy.sh, since it takes a while.
set -u
export LC_ALL=C
cd "$(dirname "$0")/.."
results=${1:-/dev/null}
status=0

shopt -s nullglob
sources=(include/*.h src/*.[ch] src/*/*.[ch] cli/*.[ch])
tests=(tests/*/*.c tests/*/*.h bench/*.c bench/*.h)

report() { # NAME FINDINGS
    if [ -z "$2" ]; then
        printf '%s\tpassed\n' "$1" >>"$results"
        echo "ok: $1"
    else
        printf '%s\tfailed\n' "$1" >>"$results"
        printf 'FAILED: %s\n%s\n' "$1" "$2"
        status=1
    fi
}

# Which rooms a room may look into. hallmark.h is open to all.
allowed() { # ROOM
    case $1 in
    base) echo base ;;
    digest) echo base digest ;;
    model) echo base digest model ;;
    net) echo base net ;;
    key) echo base net key ;;
    format) echo base digest model key format ;;
    trust) echo base key format trust ;;
    verbs) echo base digest model net key format trust config record ;;
    config) echo base config ;;
    record) echo base net key config record ;;
    view) echo base digest model key format trust verbs view ;;
    deploy) echo base digest model net key format trust verbs config record deploy ;;
    esac
}

room_of() { # FILE
    case $1 in
    src/*/*) echo "$1" | cut -d/ -f2 ;;
    src/*) echo verbs ;;
    esac
}

check_rooms() {
    local file include room rooms
    for file in src/*.[ch] src/*/*.[ch]; do
        room=$(room_of "$file")
        rooms=" $(allowed "$room") "
        [ "$rooms" != '  ' ] || echo "$file: no such room"
        sed -nE 's/^ *# *include *"([^"]+)".*/\1/p' "$file" | while read -r include; do
            case $include in
            hallmark.h | blake3.h) ;;
            */*)
                [[ $rooms == *" ${include%%/*} "* ]] ||
                    echo "$file: includes $include: $room may only use$rooms"
                ;;
            *)
                [ -e "$(dirname "$file")/$include" ] ||
                    { [[ $rooms == *" verbs "* ]] && [ -e "src/$include" ]; } ||
                    echo "$file: $include is of another room"
                ;;
            esac
        done
    done
    for file in cli/*.[ch]; do
        sed -nE 's/^ *# *include *["<]([^">]+)[">].*/\1/p' "$file" | while read -r include; do
            case $include in
            openssl/* | src/* | ../*) echo "$file: includes $include" ;;
            hallmark.h) ;;
            *) [ -e "cli/$include" ] || [ -e "/usr/include/$include" ] ||
                echo '#include <'"$include"'>' | gcc -E - >/dev/null 2>&1 ||
                echo "$file: includes $include: only hallmark.h and cli/ are for it" ;;
            esac
        done
    done
}

# Code without comments and texts, a line for a line, each with its place.
code_of() { # FILE...
    local file
    for file in "$@"; do
        sed -E 's/"([^"\\]|\\.)*"/""/g; s://.*::; s:/\*([^*]|\*[^/])*\*/::g' "$file" |
            awk -v file="$file" '
                /\/\*/ { sub(/\/\*.*/, ""); print file ":" NR ": " $0; inside = 1; next }
                inside { if (sub(/.*\*\//, "")) inside = 0; else next }
                { print file ":" NR ": " $0 }'
    done
}

check_calls() {
    local unsafe='strcpy|strcat|stpcpy|sprintf|vsprintf|gets|alloca|strncpy|strtok|atoi|atol|scanf'
    unsafe+='|tmpnam|mktemp|system|popen|rand|srand'
    local process='v?f?printf|f?puts|putchar|perror|_?exit|abort|errx?|warnx?|signal'
    code_of "${sources[@]}" | grep -E ":.*[^a-zA-Z0-9_.>]($unsafe) ?\("
    code_of src/*.[ch] src/*/*.[ch] | grep -E ":.*[^a-zA-Z0-9_.>]($process) ?\("
}

check_goto() {
    code_of src/*.c src/*/*.c cli/*.c | grep -E ':.*\bgoto\b'
}

check_spdx() {
    local file
    for file in "${sources[@]}" "${tests[@]}" scripts/*.* tests/*.py tests/*/*.py \
        meson.build Makefile; do
        head -n 2 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' ||
            echo "$file: no SPDX line"
    done
}

check_unfinished() {
    grep -nE '\b(TODO|FIXME|XXX|HACK)\b' "${sources[@]}" "${tests[@]}" tests/*.py tests/*/*.py \
        Makefile meson.build
}

check_headers() {
    local header flags blake3
    blake3=$(printf '%s\n' /usr/share/cargo/registry/blake3-*/c | sort -V | tail -n 1)
    flags="-std=c17 -D_GNU_SOURCE -Iinclude -Isrc -Icli ${blake3:+-isystem $blake3}"
    flags+=" $(pkg-config --cflags p11-kit-1 2>/dev/null)"
    flags+=" -Wall -Wextra -Werror -fsyntax-only"
    for header in include/*.h src/*/*.h src/*.h cli/*.h; do
        # shellcheck disable=SC2086
        printf '#include "%s"\ntypedef int nothing;\n' "$PWD/$header" |
            gcc $flags -x c - 2>&1 | sed "s|^|$header: |"
    done
    printf '#include "hallmark.h"\n' |
        clang++ -std=c++11 -Iinclude -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c++ - 2>&1
}

check_format() {
    command -v clang-format >/dev/null || return 0
    clang-format --dry-run -Werror "${sources[@]}" "${tests[@]}" 2>&1 |
        sed -nE 's/^([^ :]+):([0-9]+):[0-9]+: error:.*/\1 \2/p' | sort -u -k1,1 -k2,2n | awk '
            { lines[$1] = lines[$1] " " $2 }
            END { for (file in lines) print file ": make format would change" lines[file] }'
}

check_line_length() {
    awk 'length($0) > 100 { print FILENAME ":" FNR ": " length($0) " columns" }' \
        "${sources[@]}" "${tests[@]}" scripts/*.sh scripts/*.py
}

check_shell() {
    local script
    for script in scripts/*.sh .ci/run; do
        bash -n "$script" 2>&1
    done
    [ -z "$(command -v shellcheck)" ] || shellcheck -S warning scripts/*.sh .ci/run
}

report 'no room reaches above itself' "$(check_rooms)"
report 'no unsafe call, and no printing or exit in the library' "$(check_calls)"
report 'no goto' "$(check_goto)"
report 'licence lines' "$(check_spdx)"
report 'nothing marked unfinished' "$(check_unfinished)"
report 'every header stands alone' "$(check_headers)"
report 'formatting' "$(check_format)"
report 'line length' "$(check_line_length)"
report 'shell scripts' "$(check_shell)"
exit $status
