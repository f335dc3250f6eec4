"""A run on a machine that is reached by ssh: a server of paramiko's answers here."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest
from fsspec.implementations.sftp import SFTPFileSystem

import analyzer
from analyzer.errors import CheckpointError
from analyzer.sources import faults, is_file, list_folder, open_source


class Door(paramiko.ServerInterface):
    """Lets everyone in who has a key."""

    def check_auth_publickey(self, username: str, key: object) -> int:
        return paramiko.AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED


class Files(paramiko.SFTPServerInterface):
    """The files of this machine, read-only."""

    def list_folder(self, path: str) -> list[paramiko.SFTPAttributes]:
        return [paramiko.SFTPAttributes.from_stat(one.lstat(), one.name) for one in Path(path).iterdir()]

    def stat(self, path: str) -> paramiko.SFTPAttributes | int:
        try:
            return paramiko.SFTPAttributes.from_stat(Path(path).stat())
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    def open(self, path: str, flags: int, attr: object) -> paramiko.SFTPHandle | int:
        handle = paramiko.SFTPHandle(flags)
        handle.readfile = Path(path).open("rb")  # noqa: SIM115 - paramiko closes it
        return handle


class Machine:
    """An ssh server on loopback; ``url`` is that of its root."""

    def __init__(self) -> None:
        self.connections: list[paramiko.Transport] = []
        self._key = paramiko.RSAKey.generate(2048)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"sftp://someone@127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(self._key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
            transport.start_server(server=Door())
            self.connections.append(transport)

    def hang_up(self) -> None:
        for transport in self.connections:
            transport.close()

    def close(self) -> None:
        self._listening.close()
        self.hang_up()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    keys = tmp_path / "home" / ".ssh"
    keys.mkdir(parents=True)
    paramiko.RSAKey.generate(2048).write_private_key_file(str(keys / "id_rsa"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(faults, "WAITS", (0.01, 0.01))
    server = Machine()
    yield server
    for filesystem in list(SFTPFileSystem._cache.values()):
        filesystem.client.close()
    SFTPFileSystem.clear_instance_cache()
    server.close()


def test_a_run_by_ssh_gives_the_same_bits(machine: Machine, make_run: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_run()
    run = analyzer.open_run(f"{machine.url}{folder}")
    assert (run.name, len(run.checkpoints)) == ("run", 5)
    remote = analyzer.measure(run, tmp_path / "remote.sqlite", jobs=1).to_pandas()
    local = analyzer.measure(analyzer.open_run(folder), tmp_path / "local.sqlite").to_pandas()
    assert remote.to_csv() == local.to_csv()


def test_links_are_followed_and_told(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "file").write_bytes(b"data")
    for name, target in {"to_file": "file", "to_folder": "sub", "to_nothing": "nowhere", "loop": "loop"}.items():
        (folder / name).symlink_to(target)
    told = {one.name: (one.is_file, one.is_folder, one.is_link) for one in list_folder(f"{machine.url}{folder}")}
    assert told == {
        "file": (True, False, False),
        "loop": (False, False, True),
        "sub": (False, True, False),
        "to_file": (True, False, True),
        "to_folder": (False, True, True),
        "to_nothing": (False, False, True),
    }
    assert not is_file(f"{machine.url}{folder}/nowhere")


def test_fault_46_a_connection_that_ends_is_made_again(machine: Machine, tmp_path: Path) -> None:
    content = os.urandom(200_000)
    (tmp_path / "data").write_bytes(content)
    with open_source(f"{machine.url}{tmp_path}/data") as source:
        assert source.read(50_000, 100_000) == content[50_000:150_000]
        machine.hang_up()
        assert source.read(60_000, 100_000) == content[60_000:160_000]
    assert len(machine.connections) == 2


def test_fault_24_a_file_that_is_replaced(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"old")
    with open_source(f"{machine.url}{path}") as source:
        source.verify_unchanged()
        path.write_bytes(b"new")
        os.utime(path, (0, path.stat().st_mtime + 10))
        with pytest.raises(CheckpointError, match="changed while it was being read"):
            source.verify_unchanged()


def test_fault_46_no_server(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    with pytest.raises(CheckpointError, match="the server cannot be reached, 3 times in a row"):
        open_source(f"sftp://someone@127.0.0.1:{port}/data")
