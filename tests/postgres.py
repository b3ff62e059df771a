# SPDX-License-Identifier: Apache-2.0
"""A real PostgreSQL server, for the tests of ledgers that several hosts share."""

import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import tempfile

import pytest


def programs():
    """Debian keeps the server's programs out of PATH."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return pathlib.Path(initdb).parent if initdb else None


def server_user():
    """The server refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("no user for PostgreSQL to run as")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def database_of(uri):
    """Its name: what stands behind the host, or all there is."""
    return uri.split("?")[0].rsplit("/", 1)[-1]


class Server:
    """Accepts anybody on its socket, and whoever has the password on 127.0.0.1."""

    password = "s3cret-of-the-ledger"

    def __init__(self):
        self.bin = programs()
        if self.bin is None:
            pytest.skip("PostgreSQL is not installed")
        self.user = server_user()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hm-pg-", dir="/tmp"))
        self.port = free_port()
        self.databases = 0
        self._chown(self.folder)
        secret = self.folder / "password"
        secret.write_text(self.password + "\n")
        self._chown(secret)
        self._run("initdb", "-D", self.folder / "data", "-U", "owner", "-E", "UTF8",
                  "--locale=C", "--no-sync", "--auth-local=trust", "--auth-host=scram-sha-256",
                  f"--pwfile={secret}")  # fmt: skip
        self.start()

    def _chown(self, path):
        if self.user:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def _run(self, program, *arguments, check=True):
        who = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        return subprocess.run([self.bin / program, *map(str, arguments)], cwd=self.folder,
                              env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": self.folder},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=check,
                              timeout=120, **(who if self.user else {}))  # fmt: skip

    def start(self):
        """Its port was free when it was chosen, and need not be any more."""
        for _ in range(4):
            if self._start().returncode == 0:
                return
            self.port = free_port()
        self._start(check=True)

    def _start(self, check=False):
        options = (f"-c listen_addresses=127.0.0.1 -c port={self.port} "
                   f"-c unix_socket_directories={self.folder} -c fsync=off -c max_connections=50")
        return self._run("pg_ctl", "-D", self.folder / "data", "-w", "-l", self.folder / "log",
                         "-o", options, "start", check=check)

    def stop(self, mode="immediate"):
        self._run("pg_ctl", "-D", self.folder / "data", "-w", "-m", mode, "stop", check=False)

    def end(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def database(self):
        """The URI of a new one."""
        self.databases += 1
        name = f"ledger{self.databases}"
        self.sql("postgres", f"CREATE DATABASE {name}")
        return self.uri(name)

    def uri(self, name, user="owner"):
        return f"postgresql://{user}@/{name}?host={self.folder}&port={self.port}"

    def tcp(self, name, user="owner", password=None):
        password = self.password if password is None else password
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{name}"

    def sql(self, database, text, check=True):
        """What psql prints, without decoration."""
        name = database_of(database)
        done = subprocess.run(["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
                               "-h", self.folder, "-p", str(self.port), "-U", "owner", "-d", name,
                               "-c", text], capture_output=True, check=False, timeout=60)
        assert done.returncode == 0 or not check, done.stderr.decode()
        return done.stdout.decode() if check else done


@pytest.fixture(scope="session")
def postgres():
    server = Server()
    try:
        yield server
    finally:
        server.end()
