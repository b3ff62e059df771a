#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: image-root.sh PROGRAM ROOT
# Puts into ROOT, a new directory, what a container needs to run PROGRAM and nothing else: the
# program, the libraries that it is linked with and that it loads, root certificates, a user.
set -eu

[ $# -eq 2 ] || { sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 2; }
program=$1
root=$2
mkdir "$root"

# Loaded when they are needed: HTTPS, the ledger of several hosts.
loaded='libcurl.so.4 libpq.so.5 libsqlite3.so.0'

add() { # FILE: to the same place in ROOT, with what its name leads to
    place=$root$1
    [ ! -e "$place" ] || return 0
    mkdir -p "${place%/*}"
    cp -L --preserve=mode "$1" "$place"
}

needed_by() { # FILE
    ldd "$1" | sed -nE 's/^\t([^ ]+ => )?(\/[^ ]+) \(0x.*/\2/p'
}

add_library() { # FILE
    add "$1"
    needed_by "$1" | while read -r library; do add "$library"; done
}

find_library() { # NAME: its path, or nothing
    ldconfig -p | sed -nE "s/^\t$1 \(libc6,x86-64\).* => //p; s/^\t$1 \(libc6,AArch64\).* => //p" |
        head -n 1
}

mkdir -p "$root/usr/bin"
cp -L "$program" "$root/usr/bin/hallmark"
chmod 0755 "$root/usr/bin/hallmark"
needed_by "$program" | while read -r library; do add "$library"; done
for name in $loaded; do
    file=$(find_library "$name")
    if [ -n "$file" ]; then add_library "$file"; fi
done

add /etc/ssl/certs/ca-certificates.crt
mkdir -p "$root/etc/hallmark" "$root/var/lib/hallmark" "$root/tmp"
chmod 1777 "$root/tmp"
printf '%s\n' 'root:x:0:0:root:/:/nonexistent' \
    'hallmark:x:65532:65532:hallmark:/var/lib/hallmark:/nonexistent' >"$root/etc/passwd"
printf '%s\n' 'root:x:0:' 'hallmark:x:65532:' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
chown 65532:65532 "$root/var/lib/hallmark" 2>/dev/null || true
