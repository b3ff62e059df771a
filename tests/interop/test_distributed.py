# SPDX-License-Identifier: Apache-2.0
"""docs/distributed.md under the batch systems it is about: its very scripts are run."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time

import pytest

import support

PAGE = (support.ROOT / "docs" / "distributed.md").read_text()
DAEMONS = ["munged", "slurmctld", "slurmd"]

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CryptoType=crypto/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
ReturnToService=2
SlurmdParameters=config_overrides
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=100 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
"""


def block(language, beginning):
    """The block of the page that begins so."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (text,) = [text for text in found if text.startswith(beginning)]
    return text


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.5)
    return False


class Slurm:
    """A cluster of this machine alone, in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self.started = []
        for name in ("munge", "state", "spool"):
            (folder / name).mkdir(mode=0o700)
        support.write_private(folder / "munge" / "key", os.urandom(1024))
        host = socket.gethostname().split(".")[0]
        (folder / "slurm.conf").write_text(
            CONFIGURATION.format(host=host, folder=folder, ports=free_ports(2))
        )

    def run(self, *command, check=True, **more):
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                              timeout=60, check=False, env=self.environment | more.pop("env", {}),
                              **more)  # fmt: skip
        assert done.returncode == 0 or not check, done.stderr + self.logs()
        return done.stdout

    def logs(self):
        return "".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))

    def start(self):
        munge = self.folder / "munge"
        commands = [
            ["munged", "--foreground", "--force", f"--key-file={munge}/key",
             f"--socket={munge}/socket", f"--pid-file={munge}/pid", f"--log-file={munge}/log",
             f"--seed-file={munge}/seed"],
            ["slurmctld", "-D", "-f", self.folder / "slurm.conf"],
            ["slurmd", "-D", "-f", self.folder / "slurm.conf"],
        ]  # fmt: skip
        for command in commands:
            self.started.append(subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))  # fmt: skip
            time.sleep(0.5)
        return wait_for(lambda: "idle" in self.run("sinfo", "-h", "-o", "%T", check=False), 30)

    def stop(self):
        for process in reversed(self.started):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def slurm(tmp_path):
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    lacking = [name for name in [*DAEMONS, "sbatch"] if shutil.which(name, path=path) is None]
    if lacking or os.geteuid() != 0:
        pytest.skip(f"needs root and Slurm; lacking: {', '.join(lacking) or 'root'}")
    folder = tmp_path / "slurm"
    folder.mkdir()
    os.environ["PATH"], before = path, os.environ["PATH"]
    cluster = Slurm(folder)
    try:
        if not cluster.start():
            pytest.skip("Slurm does not start here: " + cluster.logs())
        yield cluster
    finally:
        cluster.stop()
        os.environ["PATH"] = before


@pytest.fixture
def tools(hallmark, tmp_path):
    """A folder in which the program has its own name."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "hallmark").symlink_to(hallmark.binary)
    return folder


@pytest.mark.timeout(240)
def test_slurm_array(hallmark, slurm, keys, tools, model_dir, tmp_path):
    script = tmp_path / "digest.sbatch"
    script.write_text(block("bash", "#!/bin/bash\n#SBATCH"))
    parts = tmp_path / "parts"
    parts.mkdir()
    environment = {k: str(v) for k, v in support.sanitizer_options().items()}
    environment["PATH"] = f"{tools}:{os.environ['PATH']}"
    submitted = slurm.run("sbatch", "--parsable", f"--export=ALL,MODEL={model_dir},PARTS={parts}",
                          script, cwd=tmp_path, env=environment)  # fmt: skip
    job = submitted.strip()
    assert wait_for(lambda: not slurm.run("squeue", "-h", "-j", job, check=False).strip(), 150)
    logs = "".join(path.read_text() for path in tmp_path.glob("digest-*.log"))
    assert len(list(parts.glob("part-*.json"))) == 8, logs + slurm.logs()
    key = keys["openssl", "ec-p256"]
    hallmark("sign", model_dir, "--parts", *parts.glob("part-*.json"), "--key", key.private,
             expect=support.OK)  # fmt: skip
    hallmark("verify", model_dir, "--key", key.public, expect=support.OK)


# ---- Kubernetes ---------------------------------------------------------------------------------


@pytest.fixture
def job():
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load(block("yaml", "apiVersion"))


def test_kubernetes_takes_the_job(job):
    validate = pytest.importorskip("kubernetes_validate")
    version = validate.latest_version()
    validate.validate(job, version, strict=True)
    broken = json.loads(json.dumps(job))
    broken["spec"]["completion"] = 8
    with pytest.raises(validate.ValidationError):
        validate.validate(broken, version, strict=True)


def test_kubernetes_command(hallmark, job, keys, tools, model_dir, tmp_path):
    """Its container's command for every index, with its environment, where the volumes would be."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert {volume["name"] for volume in job["spec"]["template"]["spec"]["volumes"]} == set(
        mounts.values()
    )
    places = {"/model": model_dir, "/parts": tmp_path / "parts"}
    assert set(mounts) == set(places)
    places["/parts"].mkdir()
    given = {one["name"]: str(places.get(one["value"], one["value"])) for one in container["env"]}
    assert given["PART_COUNT"] == str(job["spec"]["completions"])
    for index in range(job["spec"]["completions"]):
        environment = hallmark.environment(
            {**given, "JOB_COMPLETION_INDEX": index, "PATH": f"{tools}:{os.environ['PATH']}"}
        )
        subprocess.run(container["command"], env=environment, check=True, capture_output=True,
                       timeout=120)  # fmt: skip
    key = keys["openssl", "ec-p256"]
    hallmark("sign", model_dir, "--parts", *places["/parts"].iterdir(), "--key", key.private,
             expect=support.OK)  # fmt: skip
    hallmark("verify", model_dir, "--key", key.public, expect=support.OK)
