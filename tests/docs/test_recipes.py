# SPDX-License-Identifier: Apache-2.0
"""docs/recipes.md: its manifests hold against schemas, and its commands and scripts do what it says,
with stand-ins for the programs that are not ours."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest

import support

PAGE = (support.ROOT / "docs" / "recipes.md").read_text()
POLICY_KEY = "training.pub"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def block(language, part):
    """The block of the page that has this in it."""
    (text,) = [text for text in blocks(language) if part in text]
    return text


def manifest(part):
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load(block("yaml", part))


@pytest.fixture
def key(keys):
    return keys["openssl", "ec-p256"]


@pytest.fixture
def policy(key, tmp_path):
    """A folder with the page's own policy, and the key it names."""
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "policy.yaml").write_text(block("yaml", "signers:"))
    (folder / POLICY_KEY).write_bytes(key.public.read_bytes())
    return folder


@pytest.fixture
def signed(hallmark, key, tmp_path):
    """A signed model called llama."""
    model = support.make_model(tmp_path / "incoming" / "llama")
    hallmark("sign", model, "--key", key.private, expect=support.OK)
    return model


@pytest.fixture
def tools(hallmark, tmp_path):
    """A folder for programs that a recipe finds by its path; hallmark is in it."""
    folder = tmp_path / "tools"
    folder.mkdir()
    write_script(folder / "hallmark", f'exec {shlex.join(map(os.fsdecode, hallmark.command()))} "$@"')
    return folder


def write_script(path, text, shebang="#!/bin/sh"):
    path.write_text(f"{shebang}\n{text}\n")
    path.chmod(0o755)
    return path


def run(command, tools, hallmark, cwd=None, env=None, expect=0):
    environment = hallmark.environment({"PATH": f"{tools}:{os.environ['PATH']}", **(env or {})})
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=120, check=False)  # fmt: skip
    assert done.returncode == expect, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


# ---- CI -----------------------------------------------------------------------------------------

# Takes a `docker run` as the page has it and runs the image's program where the volume is.
DOCKER = r"""
import os, sys
arguments = sys.argv[1:]
assert arguments.pop(0) == "run", sys.argv
places, folder = {}, None
while arguments[0].startswith("--"):
    option = arguments.pop(0)
    if option in ("--rm", "--read-only"):
        continue
    value = arguments.pop(0)
    if option == "--volume":
        host, inside, mode = value.split(":")
        assert mode == "ro"
        places[inside] = host
    elif option == "--workdir":
        folder = value
    elif option == "--user":
        assert value == f"{os.getuid()}:{os.getgid()}"
    else:
        assert (option, value) == ("--network", "none"), option
image = arguments.pop(0)
assert image.split(":")[0].endswith("/hallmark"), image
os.chdir(places[folder])
os.execvp("hallmark", ["hallmark", *arguments])
"""


def checks(schema, text, tmp_path):
    """Holds a CI file against the schema that its service publishes."""
    pytest.importorskip("check_jsonschema")
    path = tmp_path / "ci.yml"
    path.write_text(text)
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema]
    return subprocess.run([*command, str(path)], capture_output=True, timeout=120,
                          check=False).returncode  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "part", "wrong"),
    [
        ("vendor.github-workflows", "runs-on:", ("runs-on: ubuntu-24.04", "run-on: ubuntu")),
        ("vendor.gitlab-ci", "verify-model:", ("script:", "scripts:")),
    ],
)
def test_ci_files_fit_their_schemas(schema, part, wrong, tmp_path):
    text = block("yaml", part)
    assert checks(schema, text, tmp_path) == 0
    assert wrong[0] in text and checks(schema, text.replace(*wrong), tmp_path) == 1


def ci_folder(policy, signed, tmp_path):
    folder = tmp_path / "checkout"
    folder.mkdir()
    os.rename(signed, folder / "model")
    for file in policy.iterdir():
        os.rename(file, folder / file.name)
    return folder


@pytest.mark.parametrize("service", ["github", "gitlab"])
def test_ci_jobs(service, hallmark, tools, policy, signed, tmp_path):
    write_script(tools / "docker", DOCKER, f"#!{sys.executable}")
    if service == "github":
        (step,) = [s for s in manifest("runs-on:")["jobs"]["verify"]["steps"] if "run" in s]
        command = step["run"]
    else:
        (command,) = manifest("verify-model:")["verify-model"]["script"]
    folder = ci_folder(policy, signed, tmp_path)
    run(["bash", "-ec", command], tools, hallmark, cwd=folder)
    assert json.loads((folder / "report.json").read_text())["status"] == "verified"
    support.flip(folder / "model" / "config.json", 3)
    run(["bash", "-ec", command], tools, hallmark, cwd=folder, expect=1)
    assert json.loads((folder / "report.json").read_text())["reason"] == "digest-mismatch"


# ---- Kubernetes ---------------------------------------------------------------------------------


def kubernetes_takes(document):
    validate = pytest.importorskip("kubernetes_validate")
    validate.validate(document, validate.latest_version(), strict=True)


def test_kubernetes_takes_the_deployment():
    validate = pytest.importorskip("kubernetes_validate")
    document = manifest("kind: Deployment")
    kubernetes_takes(document)
    document["spec"]["template"]["spec"]["initContainers"][0]["arg"] = []
    with pytest.raises(validate.ValidationError):
        kubernetes_takes(document)


def test_kubernetes_takes_kserves_container():
    document = manifest("ClusterStorageContainer")
    container = document["spec"]["container"]
    assert container["name"] == "storage-initializer"  # KServe looks for this name
    kubernetes_takes(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "x"},
            "spec": {"initContainers": [container], "containers": [{"name": "a", "image": "b"}]},
        }
    )


def config_map(policy, tmp_path):
    """The files as Kubernetes shows them: links through ..data, which is a link, too."""
    folder = tmp_path / "config-map"
    os.makedirs(folder / "..2026")
    (folder / "..data").symlink_to("..2026")
    for file in policy.iterdir():
        (folder / "..2026" / file.name).write_bytes(file.read_bytes())
        (folder / "..2026" / file.name).chmod(0o444)
        (folder / file.name).symlink_to(f"..data/{file.name}")
    return folder


@pytest.fixture
def pod(policy, signed, tmp_path):
    """Runs the init container with folders in the places of its volumes."""
    spec = manifest("kind: Deployment")["spec"]["template"]["spec"]
    (init,) = spec["initContainers"]
    (server,) = spec["containers"]
    gate = tmp_path / "gate"
    gate.mkdir()
    gate.chmod(0o777)  # as Kubernetes makes an emptyDir
    places = {"/incoming": signed.parent, "/policy": config_map(policy, tmp_path), "/gate": gate}
    assert {mount["mountPath"] for mount in init["volumeMounts"]} == set(places)
    names = {mount["name"] for mount in init["volumeMounts"] + server["volumeMounts"]}
    assert names == {volume["name"] for volume in spec["volumes"]}
    assert all(mount["readOnly"] for mount in server["volumeMounts"])

    def inside(text):
        for place, folder in places.items():
            text = re.sub(rf"^{place}(?=/)", str(folder), text)
        return text

    init["args"] = [inside(argument) for argument in init["args"]]
    init["env"] = {one["name"]: inside(one["value"]) for one in init["env"]}
    init["serves"] = inside(server["args"][1])
    return init


def test_kubernetes_init_container(hallmark, pod, signed, tmp_path):
    hallmark(*pod["args"], env=pod["env"], expect=support.OK)
    served = support.snapshot(pod["serves"])
    assert served.items() >= support.snapshot(signed).items()
    support.flip(signed / "config.json", 3)
    hallmark(*pod["args"], env=pod["env"], expect=support.REFUSED)
    assert support.snapshot(pod["serves"]) == served


def test_kubernetes_refuses_the_volume_itself(hallmark, pod, tmp_path):
    arguments = [re.sub("/gate/store$", "/gate", argument) for argument in pod["args"]]
    result = hallmark(*arguments, env=pod["env"], expect=support.UNDECIDED)
    assert "other users" in result.err or "written" in result.err


# ---- KServe -------------------------------------------------------------------------------------


@pytest.fixture
def initialize(hallmark, tools, policy, tmp_path):
    """initialize(source, place): the page's script, with a download that copies a folder."""
    script = tmp_path / "initialize-verified"
    script.write_text(block("bash", "initialize-verified"))
    download = write_script(tools / "download", 'test "${1%%:*}" = s3 && cp -a "${1#s3:}/." "$2"')

    def call(*arguments, expect=0):
        environment = {"HALLMARK_DOWNLOAD": download, "HALLMARK_POLICY": policy / "policy.yaml"}
        return run(["sh", script, *map(str, arguments)], tools, hallmark, env=environment,
                   expect=expect)  # fmt: skip

    return call


def test_kserve_initializer(initialize, signed, tmp_path):
    place = tmp_path / "mnt" / "models"
    initialize(f"verified+s3:{signed}", place)
    assert support.snapshot(place) == support.snapshot(signed)
    other = tmp_path / "mnt" / "other"
    support.flip(signed / "config.json", 3)
    initialize(f"verified+s3:{signed}", other, expect=1)
    assert support.snapshot(other) == {}
    initialize(f"verified+s3:{signed}.not", other, expect=1)
    initialize(f"verified+s3:{signed}", expect=2)
    initialize(expect=2)


def test_kserve_starts_the_program_with_its_libraries(hallmark, sanitizer, tmp_path):
    if sanitizer or hallmark.wrapper:
        pytest.skip("the libraries of a sanitizer are none of the image")
    root = tmp_path / "root"
    command = [support.ROOT / "packaging" / "image-root.sh", hallmark.binary, root]
    subprocess.run(command, check=True, timeout=120)
    script = tmp_path / "start"
    script.write_text(block("bash", "--library-path"))
    script.chmod(0o755)
    done = subprocess.run([script, "--version"], env={"HALLMARK_ROOT": str(root), "PATH": "/bin"},
                          capture_output=True, text=True, timeout=60, check=True)  # fmt: skip
    assert done.stdout.startswith("hallmark ") and "HTTPS: libcurl" in done.stdout


# ---- vLLM ---------------------------------------------------------------------------------------


@pytest.fixture
def serve(hallmark, tools, policy, tmp_path):
    """The page's script, with a vllm that says what it was given."""
    script = tmp_path / "serve-verified"
    script.write_text(block("bash", "serve-verified"))
    write_script(tools / "vllm", 'printf "%s\\n" "vllm" "$@"')
    environment = {
        "HALLMARK_STORE": tmp_path / "store",
        "HALLMARK_POLICY": policy / "policy.yaml",
        "HALLMARK_STATE_DIR": tmp_path / "state",
    }

    def call(source, expect=0):
        return run(["sh", script, "llama", str(source), "--port", "1"], tools, hallmark,
                   env=environment, expect=expect)  # fmt: skip

    return call


def test_vllm(serve, signed, tmp_path):
    shown = serve(signed).stdout.splitlines()
    shown = shown[shown.index("vllm") + 1 :]
    version = tmp_path / "store" / "models" / "llama" / "current"
    real = os.path.realpath(version)
    assert shown == ["serve", real, "--served-model-name", "llama", "--port", "1"]
    # What is refused leaves the last good one, which is verified before it is served again.
    support.flip(signed / "config.json", 3)
    assert real in serve(signed).stdout
    os.chmod(os.path.join(real, "config.json"), 0o644)
    support.flip(os.path.join(real, "config.json"), 5)
    assert "vllm" not in serve(signed, expect=1).stdout
    assert not os.path.lexists(version)
    assert "vllm" not in serve(signed, expect=1).stdout


# ---- the rest -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", blocks("bash"))
def test_scripts_are_shell(text):
    shell = "sh" if text.startswith("#!/bin/sh") else "bash"
    subprocess.run([shell, "-n"], input=text.encode(), check=True, timeout=60)


def test_the_configuration_is_one(hallmark, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(block("yaml", "hallmark-config: 1"))
    shown = hallmark("config", "check", "--json", path, expect=support.OK).json()
    assert shown["store"] == "/var/lib/hallmark/store"
