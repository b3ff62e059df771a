# SPDX-License-Identifier: Apache-2.0
"""The C core: libhallmark, function by function. Internal; use the package's own names."""

from typing import Any, Callable, Final, Optional, Tuple, final

# Capsules at run time: opaque, and only ever handed back to this module.
@final
class _Report: ...

@final
class _Signer: ...

@final
class _Policy: ...

@final
class _View: ...

@final
class _Config: ...

@final
class _Recorder: ...

@final
class _Store: ...

_Paths = Tuple[bytes, ...]
_Ask = Optional[Callable[[str, bool], Optional[bytes]]]
_Progress = Optional[Callable[[int, int], object]]

VERSION: Final[str]
POLICY_FILE: Final[str]
OK: Final[int]
REFUSED: Final[int]
USAGE: Final[int]
UNDECIDED: Final[int]
LET_THROUGH: Final[int]
KEYGEN_PLAIN: Final[int]
ROTATE_PLAIN: Final[int]
ROTATE_REMOVE_OLD_PRIVATE: Final[int]
DESCRIBE_JSON: Final[int]
IDENTITY_SUBJECT: Final[int]
IDENTITY_SAN: Final[int]
IDENTITY_FINGERPRINT: Final[int]
IDENTITY_ORGANISATION: Final[int]
ALLOW_EXPIRED_CERTIFICATES: Final[int]
ALLOW_MISSING_EKU: Final[int]
ALLOW_OMS_V0_2_0: Final[int]
ALLOW_SYMLINKS: Final[int]
PROVENANCE_ANY: Final[int]
PROVENANCE_DATASET: Final[int]
PROVENANCE_BUILDER: Final[int]
TEXT_LIST: Final[int]
TEXT_COLOUR: Final[int]
SHARD_SIZE_DEFAULT: Final[int]
SIGN_INCLUDE_GIT: Final[int]
SIGN_FOLLOW_SYMLINKS: Final[int]
SIGN_NAME_DOT: Final[int]
SIGN_FILES_AND_SHARDS: Final[int]
SIGN_FILES: Final[int]
VERIFY_IGNORE_UNSIGNED: Final[int]
VERIFY_FAIL_FAST: Final[int]
VERIFY_STRICT_PATHS: Final[int]
VERIFY_INCLUDE_GIT: Final[int]
POLICY_JSON: Final[int]
DIGEST_INCLUDE_GIT: Final[int]
DIGEST_FOLLOW_SYMLINKS: Final[int]
DIGEST_PATH_ORDER: Final[int]
CONFIG_JSON: Final[int]
LOG_JSON: Final[int]
STORE_CREATE: Final[int]
STORE_READ: Final[int]
STORE_JSON: Final[int]
DEPLOY_DRY_RUN: Final[int]
DEPLOY_NO_SWITCH: Final[int]
DEPLOY_FULL: Final[int]
GATE_LEAVE_BAD: Final[int]
GATE_ROUTINE: Final[int]
GC_DRY_RUN: Final[int]
VIEW_UNTOUCHED: Final[int]

def _set_make_error(
    make_error: Callable[[int, str, str, str, Optional[_Report]], BaseException], /
) -> None: ...
def build_info() -> str: ...
def time_from_text(text: str, /) -> int: ...
def process_harden() -> None: ...
def signer_open(key: bytes, ask: _Ask, /) -> _Signer: ...
def signer_set_certificates(signer: _Signer, leaf: bytes, chain: _Paths, /) -> None: ...
def signer_describe(signer: _Signer, /) -> Tuple[str, str, int]: ...
def signer_close(signer: _Signer, /) -> None: ...
def key_generate(
    private: bytes, public: Optional[bytes], type: Optional[str], ask: _Ask, flags: int, /
) -> None: ...
def key_describe(key: bytes, version: int, flags: int, /) -> str: ...
def keyring_rotate(
    keyring: bytes,
    type: Optional[str],
    ask: _Ask,
    flags: int,
    signer: Optional[str],
    base_name: Optional[str],
    signs_from: int,
    not_after: int,
    /,
) -> int: ...
def keyring_revoke(keyring: bytes, version: int, since: int, reason: str, /) -> None: ...
def keyring_export(keyring: bytes, admin: _Signer, path: bytes, expires: int, /) -> int: ...
def keyring_describe(keyring: bytes, flags: int, /) -> str: ...
def policy_new() -> _Policy: ...
def policy_load(path: bytes, /) -> _Policy: ...
def policy_add_key(policy: _Policy, path: bytes, /) -> None: ...
def policy_add_root(policy: _Policy, path: bytes, /) -> None: ...
def policy_add_keyring(
    policy: _Policy,
    file: bytes,
    admin_key: bytes,
    signer: Optional[str],
    min_version: int,
    /,
) -> None: ...
def policy_require_identity(policy: _Policy, kind: int, value: str, /) -> None: ...
def policy_require_format(policy: _Policy, format: str, /) -> None: ...
def policy_require_provenance(policy: _Policy, kind: int, value: Optional[str], /) -> None: ...
def policy_allow(policy: _Policy, flags: int, /) -> None: ...
def policy_set_time(policy: _Policy, time: int, /) -> None: ...
def policy_describe(policy: _Policy, flags: int, /) -> str: ...
def policy_explain(
    policy: _Policy, model: bytes, name: Optional[bytes], flags: int, /
) -> str: ...
def report_json(report: _Report, /) -> str: ...
def report_text(report: _Report, flags: int, /) -> str: ...
def report_facts(report: _Report, /) -> Tuple[bytes, bytes, bytes, float]: ...
def sign(
    models: _Paths,
    signer: _Signer,
    flags: int,
    signature: Optional[bytes],
    format: Optional[str],
    hash: Optional[str],
    shard_size: int,
    ignore: _Paths,
    signer_id: Optional[str],
    key_version: int,
    metadata: Optional[str],
    metadata_file: Optional[bytes],
    jobs: int,
    shards_signature: Optional[bytes],
    parts: _Paths,
    reuse: Optional[bytes],
    provenance: Optional[bytes],
    progress: _Progress,
    /,
) -> Tuple[int, _Report]: ...
def verify(
    model: bytes,
    policy: _Policy,
    flags: int,
    signatures: _Paths,
    ignore: _Paths,
    expected_name: Optional[bytes],
    jobs: int,
    provenance: Optional[bytes],
    progress: _Progress,
    /,
) -> Tuple[int, _Report]: ...
def resign(
    model: bytes, policy: _Policy, signer: _Signer, jobs: int, progress: _Progress, /
) -> Tuple[int, _Report]: ...
def digest(
    model: bytes,
    flags: int,
    hash: Optional[str],
    shard_size: int,
    ignore: _Paths,
    jobs: int,
    part: int,
    part_count: int,
    out: Optional[bytes],
    progress: _Progress,
    /,
) -> Tuple[int, _Report]: ...
def inspect(signature: bytes, /) -> Tuple[int, _Report]: ...
def view_open(
    model: bytes,
    policy: _Policy,
    flags: int,
    signatures: _Paths,
    ignore: _Paths,
    expected_name: Optional[bytes],
    jobs: int,
    provenance: Optional[bytes],
    progress: _Progress,
    /,
) -> Tuple[int, _Report, Optional[_View]]: ...
def view_files(view: _View, /) -> Tuple[Tuple[bytes, int, bool], ...]: ...
def view_load(view: _View, indices: Tuple[int, ...], progress: _Progress, /) -> None: ...
def view_loaded(view: _View, index: int, /) -> bool: ...
def view_fd(view: _View, index: int, /) -> int: ...
def view_read(
    view: _View,
    index: int,
    offset: int,
    address: int,
    length: int,
    flags: int,
    progress: _Progress,
    /,
) -> None: ...
def config_load(path: Optional[bytes], /) -> _Config: ...
def config_set(config: _Config, name: str, value: bytes, /) -> None: ...
def config_get(config: _Config, name: str, /) -> Optional[bytes]: ...
def config_check_every(config: _Config, /) -> int: ...
def config_describe(config: _Config, flags: int, /) -> str: ...
def recorder_open(config: _Config, /) -> _Recorder: ...
def recorder_report(recorder: _Recorder, report: _Report, /) -> None: ...
def recorder_key(
    recorder: _Recorder, event: str, keyring: bytes, version: int, reason: Optional[str], /
) -> None: ...
def recorder_flush(recorder: _Recorder, /) -> Optional[str]: ...
def recorder_close(recorder: _Recorder, /) -> None: ...
def log_read(
    config: _Config,
    flags: int,
    since: int,
    model: Optional[str],
    event: Optional[str],
    limit: int,
    /,
) -> bytes: ...
def log_verify(
    config: _Config, flags: int, key: Optional[bytes], checkpoint: Optional[bytes], /
) -> Tuple[str, Any]: ...
def log_checkpoint(config: _Config, signer: _Signer, path: Optional[bytes], /) -> None: ...
def store_open(config: _Config, flags: int, /) -> _Store: ...
def store_close(store: _Store, /) -> None: ...
def store_names(store: _Store, /) -> Tuple[str, ...]: ...
def store_status(store: _Store, name: Optional[bytes], flags: int, /) -> str: ...
def store_gc(store: _Store, name: Optional[bytes], keep: int, flags: int, /) -> str: ...
def deploy(
    store: _Store,
    source: bytes,
    name: str,
    policy: _Policy,
    flags: int,
    signatures: _Paths,
    provenance: Optional[bytes],
    ignore: _Paths,
    jobs: int,
    progress: _Progress,
    /,
) -> Tuple[int, _Report]: ...
def rollback(
    store: _Store,
    name: str,
    policy: _Policy,
    flags: int,
    version: Optional[str],
    jobs: int,
    progress: _Progress,
    /,
) -> Tuple[int, _Report]: ...
def store_check(
    store: _Store,
    name: str,
    policy: _Policy,
    flags: int,
    version: Optional[str],
    jobs: int,
    progress: _Progress,
    /,
) -> Tuple[int, _Report]: ...
def quarantine_describe(store: _Store, id: Optional[bytes], flags: int, /) -> str: ...
def quarantine_release(
    store: _Store,
    id: str,
    policy: _Policy,
    flags: int,
    jobs: int,
    progress: _Progress,
    /,
) -> Tuple[int, _Report]: ...
def quarantine_purge(store: _Store, id: str, /) -> None: ...
def quarantine_purge_older(store: _Store, before: int, /) -> int: ...
