#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# usage: model-digest.sh [--hash sha256|blake2b|blake3] [--shard-size BYTES] [--ignore PATH]... MODEL
# The model digest, as docs/formats.md defines it and `hallmark digest` prints it, from nothing but
# standard tools (blake3 needs b3sum).
set -euo pipefail
export LC_ALL=C # names are sorted by their bytes

die() { printf 'model-digest: %s\n' "$*" >&2; exit 1; }

hash=sha256 shard_size=0 ignore=(.git .gitignore .gitattributes .github)
while [ $# -gt 1 ]; do
    case $1 in
    --hash) hash=$2 ;;
    --shard-size) shard_size=$2 ;;
    --ignore) ignore+=("$2") ;;
    *) die "there is no option $1" ;;
    esac
    shift 2
done
[ $# -eq 1 ] || die 'name one model'
case $hash in
sha256) sum=sha256sum ;;
blake2b) sum=b2sum ;;
blake3) sum=b3sum ;;
*) die "there is no hash $hash" ;;
esac

digest() { $sum | cut -d ' ' -f 1; } # of standard input, in hex

ignored() { # NAME
    local path
    for path in "${ignore[@]}"; do
        case $1 in "$path" | "$path"/*) return 0 ;; esac
    done
    return 1
}

# <hex digest> <start> <end> <name> NUL
record() { # NAME START END
    printf '%s %s %s %s\0' \
        "$(dd if="./$1" bs=1M iflag=skip_bytes,count_bytes,fullblock skip="$2" \
            count=$(($3 - $2)) status=none | digest)" "$2" "$3" "$1"
}

records() { # NAME
    [ -f "./$1" ] && [ ! -L "./$1" ] || die "not a regular file: $1"
    local size start=0 end
    size=$(stat -c %s "./$1")
    while :; do
        end=$size
        if [ "$shard_size" -gt 0 ] && [ $((start + shard_size)) -lt "$size" ]; then
            end=$((start + shard_size))
        fi
        record "$1" "$start" "$end"
        start=$end
        [ "$start" -lt "$size" ] || break
    done
}

if [ -d "$1" ]; then
    cd -- "$1"
    names() { find . ! -type d -printf '%P\0' | sort -z; }
else
    cd -- "$(dirname -- "$1")"
    name=$(basename -- "$1"; echo x) # a name may end in a newline
    name=${name%?x}
    ignore=()
    names() { printf '%s\0' "$name"; }
fi

{
    printf 'hallmark-model-digest-v1\0'
    if [ "$shard_size" -gt 0 ]; then
        printf 'shards\0%s\0%s\0' "$hash" "$shard_size"
    else
        printf 'files\0%s\0' "$hash"
    fi
    names | while IFS= read -r -d '' name; do
        ignored "$name" || records "$name"
    done
} | sha256sum | cut -d ' ' -f 1
