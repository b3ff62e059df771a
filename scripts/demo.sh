#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The whole story in a minute: a key, a model, a signature, a changed byte, a refusal.
set -eu
cd "$(dirname "$0")/.."
PATH=$PWD/build:$PATH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

if [ -t 1 ]; then
    bold=$(printf '\033[1m') plain=$(printf '\033[0m')
else
    bold='' plain=''
fi
say() { printf '\n%s# %s%s\n' "$bold" "$*" "$plain"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }
expect() { # STATUS COMMAND...
    wanted=$1
    shift
    shown=$*
    printf '%s$ %s%s\n' "$bold" "${shown#first_line }" "$plain"
    got=0
    "$@" 2>&1 || got=$?
    [ "$got" -eq "$wanted" ] || fail "exit status $got, expected $wanted"
}
first_line() { # COMMAND...
    output=$("$@") || return
    printf '%s\n...\n' "${output%%
*}"
}
flip() { # FILE OFFSET: changes one bit there
    $python - "$1" "$2" <<'PY'
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2]))
    byte = file.read(1)[0]
    file.seek(int(sys.argv[2]))
    file.write(bytes([byte ^ 1]))
PY
}

python=/usr/bin/python3
[ -x $python ] || python=python3

say 'A model: a small classifier in safetensors, as a training job would leave it'
$python scripts/make-model.py "$work/model"
cd "$work"
ls -l model | sed 1d

say 'A key pair. Real keys get a passphrase; this one lives for a minute'
expect 0 hallmark key generate --no-passphrase signer.pem

say 'Sign what the training produced'
expect 0 hallmark sign model --key signer.pem

say 'Verify it, as whoever deploys it would'
expect 0 hallmark verify model --key signer.pub

say 'Somebody changes one byte of eight million'
flip model/model.safetensors 4000000
expect 1 hallmark verify model --key signer.pub
echo '(exit status 1: refused)'

say 'The byte is put back'
flip model/model.safetensors 4000000
expect 0 first_line hallmark verify model --key signer.pub
