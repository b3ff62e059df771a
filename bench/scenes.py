# SPDX-License-Identifier: Apache-2.0
"""Who runs against whom, on which model, and what Hallmark has to reach."""

import base64
import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable, Mapping

from models import Model

# The processor without its SHA instructions, as far as libcrypto is concerned.
NO_SHA = {"OPENSSL_ia32cap": ":~0x20000000"}


@dataclasses.dataclass(frozen=True)
class Contender:
    what: str
    command: list[str]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ours: bool = False
    # From what the command printed; None: the time of the whole process.
    seconds: Callable[[str], float] | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """Hallmark against another: the ratio of the medians, and what it must be at least."""

    what: str
    ours: str
    other: str
    at_least: float | None = None


@dataclasses.dataclass(frozen=True)
class Scene:
    """Contenders that run in turn on one model."""

    name: str
    model: Model
    contenders: dict[str, Contender]
    rows: list[Row]
    cold: bool = False
    runs_factor: int = 1


@dataclasses.dataclass(frozen=True)
class Ceiling:
    """What no median of Hallmark's in these scenes may exceed."""

    what: str
    scenes: tuple[str, ...]
    measure: str  # "ms" or "MiB"
    under: float


CEILINGS = [
    Ceiling("verify a 1 MiB model, whole process", ("tiny",), "ms", 10),
    Ceiling(
        "peak memory, the most of any",
        ("one", "many", "tiny", "cold-one", "cold-many", "kernels-one"),
        "MiB",
        64,
    ),
    Ceiling("peak memory, the small files", ("small", "cold-small", "kernels-small"), "MiB", 96),
]


@dataclasses.dataclass(frozen=True)
class Setup:
    """Where things are."""

    hallmark: pathlib.Path
    kernel_speed: pathlib.Path
    model_signing: pathlib.Path
    python: pathlib.Path
    frameworks: pathlib.Path  # a Python with the package, numpy and safetensors
    work: pathlib.Path
    processors: int
    shards: list[str]  # the options that ask for shards

    @property
    def private_key(self) -> str:
        return str(self.work / "signer.pem")

    @property
    def public_key(self) -> str:
        return str(self.work / "signer.pub")

    def signature(self, model: Model, kind: str) -> str:
        return str(self.work / f"{model.name}-{kind}.sig")


def missing(setup: Setup, contender: Contender) -> str | None:
    """Why it cannot run; None when it can."""
    program = contender.command[0]
    if shutil.which(program):
        return None
    if program == str(setup.frameworks):
        return "the Python package is not installed (make python)"
    if program in (str(setup.python), str(setup.model_signing)):
        return "model-signing is not installed"
    return f"{program} is not installed"


# ---- commands


def hallmark_sign_command(setup: Setup, model: Model, kind: str, signature: str) -> list[str]:
    how = setup.shards if kind == "shards" else ["--files"]
    command = [str(setup.hallmark), "sign", str(model.path), "--key", setup.private_key]
    return [*command, *how, "--signature", signature]


def hallmark_sign(setup: Setup, model: Model, kind: str) -> Contender:
    signature = setup.signature(model, f"{kind}-again")
    command = hallmark_sign_command(setup, model, kind, signature)
    return Contender(f"hallmark sign, {kind}", command, ours=True)


def hallmark_verify(
    setup: Setup,
    model: Model,
    kind: str,
    what: str = "",
    environment: Mapping[str, str] | None = None,
) -> Contender:
    command = [str(setup.hallmark), "verify", str(model.path), "--key", setup.public_key]
    command += ["--signature", setup.signature(model, kind)]
    return Contender(what or f"hallmark verify, {kind}", command, environment or {}, ours=True)


def hallmark_digest(setup: Setup, model: Model, hash_name: str) -> Contender:
    command = [str(setup.hallmark), "digest", str(model.path), "--files", "--hash", hash_name]
    return Contender(f"hallmark digest, files, {hash_name}", command, ours=True)


def reference_sign(setup: Setup, model: Model) -> Contender:
    command = [str(setup.model_signing), "sign", "key", str(model.path)]
    command += ["--private_key", setup.private_key]
    command += ["--signature", setup.signature(model, "reference")]
    return Contender("model_signing sign, files", command)


def reference_verify(setup: Setup, model: Model) -> Contender:
    command = [str(setup.model_signing), "verify", "key", str(model.path)]
    command += ["--public_key", setup.public_key]
    command += ["--signature", setup.signature(model, "files")]
    return Contender("model_signing verify, files", command)


def reference_shards(setup: Setup, model: Model, action: str) -> Contender:
    helper = pathlib.Path(__file__).with_name("shards.py")
    command = [str(setup.python), str(helper), action, str(model.path)]
    command.append(str(shard_size(setup, model)))
    if action == "sign":
        command += [setup.private_key, setup.signature(model, "reference-shards")]
    return Contender(f"model-signing {action}, shards, Python", command, seconds=float)


def loading(setup: Setup, model: Model, action: str, kind: str, what: str) -> Contender:
    """In Python; `kind` of signature, or "" for none."""
    python = setup.python if action == "reference" else setup.frameworks
    helper = pathlib.Path(__file__).with_name("loading.py")
    command = [str(python), str(helper), action, str(model.path)]
    if kind:
        command += [setup.public_key, setup.signature(model, kind)]
    ours = action not in ("plain", "reference")
    return Contender(what, command, ours=ours, seconds=float)


def openssl(model: Model) -> Contender:
    files = [str(path) for path in model.all_files()]
    return Contender("openssl dgst -sha256", ["openssl", "dgst", "-sha256", *files])


def sha256sum(model: Model) -> Contender:
    return Contender("sha256sum", ["sha256sum", *(str(path) for path in model.all_files())])


def b3sum(setup: Setup, model: Model) -> Contender:
    command = ["b3sum", "--num-threads", str(setup.processors)]
    return Contender("b3sum", command + [str(path) for path in model.all_files()])


def dd(model: Model) -> Contender:
    command = ["dd", f"if={model.file(0)}", "of=/dev/null", "bs=16M", "iflag=direct"]
    return Contender("dd iflag=direct", command)


def kernel_speeds(printed: str) -> dict[str, float]:
    """Bytes per second of one processor, by kernel."""
    lines = [line.split() for line in printed.splitlines()]
    return {name: float(speed) for name, _, speed in lines}


def limit(setup: Setup, model: Model) -> Contender:
    """Every processor busy with the best kernel, and nothing to read."""

    def seconds(printed: str) -> float:
        return model.bytes / (setup.processors * max(kernel_speeds(printed).values()))

    return Contender("the machine's own limit, SHA-256", [str(setup.kernel_speed)], seconds=seconds)


# ---- before the measuring


def preparations(setup: Setup, model: Model) -> list[list[str]]:
    """Commands that write the signatures which are verified."""
    kinds = ["files", "shards"] if model.name in ("one", "weights") else ["files"]
    return [
        hallmark_sign_command(setup, model, kind, setup.signature(model, kind)) for kind in kinds
    ]


def shard_size(setup: Setup, model: Model) -> int:
    """That of the signature, so that the others hash the same shards."""
    bundle = json.loads(pathlib.Path(setup.signature(model, "shards")).read_text())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    return int(statement["predicate"]["serialization"]["shard_size"])


# ---- scenes


def one(setup: Setup, model: Model) -> Scene:
    contenders = {
        "verify-shards": hallmark_verify(setup, model, "shards"),
        "openssl": openssl(model),
        "verify-files": hallmark_verify(setup, model, "files"),
        "reference-verify": reference_verify(setup, model),
        "reference-hash-shards": reference_shards(setup, model, "hash"),
        "digest": hallmark_digest(setup, model, "sha256"),
        "sha256sum": sha256sum(model),
        "digest-blake3": hallmark_digest(setup, model, "blake3"),
        "b3sum": b3sum(setup, model),
        "sign-files": hallmark_sign(setup, model, "files"),
        "reference-sign": reference_sign(setup, model),
        "sign-shards": hallmark_sign(setup, model, "shards"),
        "reference-sign-shards": reference_shards(setup, model, "sign"),
        "limit": limit(setup, model),
    }
    rows = [
        Row("verify, shards", "verify-shards", "openssl", 4),
        Row("verify, shards; the other whole files", "verify-shards", "reference-verify", 3),
        Row("verify, shards; the other hashes them", "verify-shards", "reference-hash-shards", 2),
        Row("one whole-file SHA-256", "digest", "openssl", 1.1),
        Row("one whole-file SHA-256", "digest", "sha256sum"),
        Row("BLAKE3", "digest-blake3", "b3sum", 1),
        Row("verify, shards", "verify-shards", "limit", 0.8),
        Row("verify, files", "verify-files", "reference-verify"),
        Row("sign, files", "sign-files", "reference-sign"),
        Row("sign, shards", "sign-shards", "reference-sign-shards"),
    ]
    return Scene("one", model, contenders, rows)


def many(setup: Setup, model: Model) -> Scene:
    contenders = {
        "verify-files": hallmark_verify(setup, model, "files"),
        "reference-verify": reference_verify(setup, model),
        "openssl": openssl(model),
        "sign-files": hallmark_sign(setup, model, "files"),
        "reference-sign": reference_sign(setup, model),
    }
    rows = [
        Row("verify, files", "verify-files", "reference-verify", 2),
        Row("verify, files", "verify-files", "openssl"),
        Row("sign, files", "sign-files", "reference-sign"),
    ]
    return Scene("many", model, contenders, rows)


def small(setup: Setup, model: Model) -> Scene:
    contenders = {
        "verify-files": hallmark_verify(setup, model, "files"),
        "reference-verify": reference_verify(setup, model),
        "sign-files": hallmark_sign(setup, model, "files"),
        "reference-sign": reference_sign(setup, model),
    }
    rows = [
        Row("verify, files", "verify-files", "reference-verify", 10),
        Row("sign, files", "sign-files", "reference-sign", 10),
    ]
    return Scene("small", model, contenders, rows)


def tiny(setup: Setup, model: Model) -> Scene:
    contenders = {
        "verify-files": hallmark_verify(setup, model, "files"),
        "reference-verify": reference_verify(setup, model),
    }
    rows = [Row("verify, whole process", "verify-files", "reference-verify", 100)]
    return Scene("tiny", model, contenders, rows, runs_factor=4)


def cold_one(setup: Setup, model: Model) -> Scene:
    contenders = {
        "verify-shards": hallmark_verify(setup, model, "shards"),
        "dd": dd(model),
        "verify-files": hallmark_verify(setup, model, "files"),
        "reference-verify": reference_verify(setup, model),
    }
    rows = [
        Row("verify, shards", "verify-shards", "dd", 0.9),
        Row("verify, files", "verify-files", "dd"),
        Row("verify, files", "verify-files", "reference-verify"),
    ]
    return Scene("cold-one", model, contenders, rows, cold=True)


def cold_files(setup: Setup, model: Model) -> Scene:
    contenders = {
        "verify-files": hallmark_verify(setup, model, "files"),
        "reference-verify": reference_verify(setup, model),
    }
    rows = [Row("verify, files", "verify-files", "reference-verify")]
    return Scene(f"cold-{model.name}", model, contenders, rows, cold=True)


def loads(setup: Setup, model: Model, cold: bool) -> Scene:
    contenders = {
        "load-shards": loading(setup, model, "verified", "shards", "hallmark load, shards"),
        "load-files": loading(setup, model, "verified", "files", "hallmark load, files"),
        "plain": loading(setup, model, "plain", "", "safetensors load, unverified"),
        "reference": loading(
            setup, model, "reference", "files", "model-signing verify, then safetensors load"
        ),
        "first": loading(setup, model, "first", "shards", "hallmark, lazy, the first tensor"),
        "quarter": loading(setup, model, "quarter", "shards", "hallmark, lazy, a quarter"),
    }
    rows = [
        Row("verified load, shards", "load-shards", "reference", None if cold else 2),
        # At most 1.15 times as long.
        Row("verified load, shards", "load-shards", "plain", 1 / 1.15 if cold else None),
        Row("verified load, files", "load-files", "plain"),
        Row("the first tensor", "first", "load-shards"),
        Row("a quarter of the tensors", "quarter", "load-shards"),
    ]
    return Scene(f"{'cold-' if cold else ''}weights", model, contenders, rows, cold=cold)


def kernels(setup: Setup, model: Model, available: set[str]) -> Scene:
    """Processors that lack something, each against libcrypto alone on the same processor."""
    kind = "shards" if model.name == "one" else "files"
    contenders: dict[str, Contender] = {}
    rows = []
    lacking = [
        ("shani", "without AVX-512", {}),
        ("avx512", "without SHA-NI", NO_SHA),
        ("avx2", "without either", NO_SHA),
    ]
    for kernel, condition, environment in lacking:
        if kernel not in available:
            continue
        alone = "libcrypto-no-sha" if environment else "libcrypto"
        for key, forced in ((kernel, kernel), (alone, "libcrypto")):
            what = f"hallmark, {forced} only"
            what += " (no SHA-NI)" if environment else ""
            forcing = {"HALLMARK_KERNEL": forced, **environment}
            contenders[key] = hallmark_verify(setup, model, kind, what, forcing)
        rows.append(Row(f"verify, {kind}, {condition}", kernel, alone, 1))
    return Scene(f"kernels-{model.name}", model, contenders, rows)


NAMES = (
    "one",
    "many",
    "small",
    "tiny",
    "cold-one",
    "cold-many",
    "cold-small",
    "weights",
    "cold-weights",
    "kernels-one",
    "kernels-small",
)


def model_of(scene_name: str) -> str:
    return scene_name.split("-")[-1]


def build(name: str, setup: Setup, model: Model, available: set[str]) -> Scene:
    if name.startswith("kernels-"):
        return kernels(setup, model, available)
    if model.name == "weights":
        return loads(setup, model, cold=name.startswith("cold-"))
    makers = {"one": one, "many": many, "small": small, "tiny": tiny, "cold-one": cold_one}
    return makers.get(name, cold_files)(setup, model)
