"""Energies by name: folders first, then the zoo, then the Hugging Face hub, which a small server stands for here."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

import energies
from energies import StudentT, hub, zoo
from energies.hub import is_elsewhere, located
from energies.saving import save_module

SHA = "0123456789abcdef0123456789abcdef01234567"
X = torch.ones(2, 3)


class Hub(ThreadingHTTPServer):
    """Repositories of files in one commit each, by what `snapshot_download` and `upload_folder` ask for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.files: dict[str, dict[str, bytes]] = {}
        self.asked = 0


class Asked(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def say(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def tell(self, status: int, content: Any, **headers: str) -> None:
        self.say(status, json.dumps(content).encode(), Content_Type="application/json", **headers)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.asked += 1
        path = self.path.partition("?")[0]
        found = re.fullmatch(r"/(api/models/)?(\w+/\w+)(?:/(revision|tree|resolve)/(\w+)(?:/(.*))?)?", path)
        files = self.server.files.get(found[2]) if found else None
        if found is None or files is None:
            return self.tell(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        if found[4] not in (None, "main", SHA):
            return self.tell(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        oid = {name: hashlib.sha1(content).hexdigest() for name, content in files.items()}
        if found[3] == "tree":
            entries = [{"type": "file", "path": n, "size": len(c), "oid": oid[n]} for n, c in files.items()]
            return self.tell(200, entries)
        if found[3] == "resolve":
            if (name := found[5]) not in files:
                return self.tell(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
            return self.say(200, files[name], ETag=f'"{oid[name]}"', X_Repo_Commit=SHA)
        self.tell(200, {"id": found[2], "sha": SHA, "siblings": [{"rfilename": name} for name in files]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/create"):
            sent = json.loads(body)
            name = f"{sent.get('organization') or 'user'}/{sent['name']}"
            self.server.files.setdefault(name, {})
            return self.tell(200, {"url": f"https://huggingface.co/{name}", "id": name})
        if self.path.endswith("/validate-yaml"):
            return self.tell(200, {"errors": [], "warnings": []})
        repository = "/".join(self.path.split("/")[3:5])
        if "/preupload/" in self.path:
            kinds = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            return self.tell(200, {"files": [{"path": f["path"], **kinds} for f in json.loads(body)["files"]]})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.server.files[repository][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        none = dict.fromkeys(("pullRequestUrl", "pullRequestRevision", "pullRequestNum"))
        url = f"https://huggingface.co/{repository}/commit/{SHA}"
        self.tell(200, {"success": True, "commitUrl": url, "commitOid": SHA, **none})


@pytest.fixture
def server(monkeypatch, tmp_path) -> Iterator[Hub]:
    made = Hub()
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{made.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    hub._fetched.cache_clear()
    yield made
    made.shutdown()
    made.server_close()
    hub._fetched.cache_clear()


@pytest.mark.slow
def test_what_is_pushed_is_what_is_loaded(server):
    StudentT(3.0).push_to_hub("user/tails", token="hf_none")
    assert {"energy.json", "model.safetensors", "README.md"} <= server.files["user/tails"].keys()
    by_class = StudentT.from_pretrained("user/tails", revision="main")
    for again in (energies.load("user/tails"), energies.load(f"user/tails@{SHA}"), by_class):
        assert isinstance(again, StudentT) and torch.equal(again(X), StudentT(3.0)(X))


def test_it_is_asked_once_and_without_it_the_cache_serves(server, monkeypatch):
    StudentT(3.0).push_to_hub("user/tails", token="hf_none")
    energies.load("user/tails")
    asked = server.asked
    energies.load("user/tails")
    assert server.asked == asked
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    hub._fetched.cache_clear()
    assert torch.equal(energies.load("user/tails")(X), StudentT(3.0)(X))
    with pytest.raises(ConnectionError, match="user/other: no such folder, and the hub is out of reach") as told:
        energies.load("user/other")
    assert "\n" not in str(told.value)


def test_what_is_not_there_is_told_in_one_line(server):
    server.files["user/empty"] = {"README.md": b"nothing"}
    for source, words in (
        ("user/nobody", "user/nobody: no such folder, and no such repository on the hub"),
        ("user/empty@v7", "user/empty of the hub has no revision v7"),
        ("user/empty", "user/empty: holds no energy"),
        ("user/bad..name", "no such folder, and no such repository"),
    ):
        with pytest.raises(FileNotFoundError, match=re.escape(words)) as told:
            energies.load(source)
        assert "\n" not in str(told.value)


def test_a_folder_wins_over_the_hub_and_a_path_is_always_one(server):
    StudentT(3.0).push_to_hub("user/tails", token="hf_none")
    asked = server.asked  # the first push of a program asks for more than the others
    StudentT(5.0).save_pretrained("user/tails")
    assert torch.equal(energies.load("user/tails")(X), StudentT(5.0)(X))
    assert not is_elsewhere(Path("user/nobody")) and located(Path("user/nobody")) == Path("user/nobody")
    for source in ("nowhere", "/a/b", "./a/b", "../b", "a/b/c", "~/b"):
        assert not is_elsewhere(source)
    assert server.asked == asked


def test_an_entry_of_the_zoo_is_loaded_by_its_name(tmp_path):
    for entry, folder in (("one", tmp_path / "one"), ("two", tmp_path / "two/energy")):
        save_module(StudentT(3.0), folder)
        (tmp_path / entry / "card.json").write_text(json.dumps({"name": entry, "asked": []}))
    (tmp_path / "__pycache__").mkdir()
    assert zoo.names(tmp_path) == ["one", "two"] and zoo.card("two", tmp_path)["name"] == "two"
    for entry in zoo.names(tmp_path):
        assert torch.equal(energies.load(located(f"zoo:{entry}", tmp_path))(X), StudentT(3.0)(X))
    with pytest.raises(ValueError, match=r"there is no 'three' in the zoo; there are one, two"):
        located("zoo:three", tmp_path)
    for name in ("", "../zoo", "one/.."):
        with pytest.raises(ValueError, match="there is no"):
            located(f"zoo:{name}", tmp_path)


@pytest.mark.parametrize("card", [b"", b"3", b"\xd1\xff", b"{}", b'{"asked": null}'])
def test_a_damaged_card_of_the_zoo_is_told_of_in_one_line(tmp_path, card):
    (tmp_path / "one").mkdir()
    (tmp_path / "one/card.json").write_bytes(card)
    with pytest.raises(ValueError, match=r"one/card\.json is damaged; install the package again"):
        zoo.standing_in("digest", tmp_path)


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_not_waited_for_and_the_cache_serves(server, monkeypatch):
    StudentT(3.0).push_to_hub("user/tails", token="hf_none")
    energies.load("user/tails")
    hub._fetched.cache_clear()
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections, and says nothing
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{mute.getsockname()[1]}")
        monkeypatch.setattr(hub, "PATIENCE", 0.05)
        assert torch.equal(energies.load("user/tails")(X), StudentT(3.0)(X))
        with pytest.raises(ConnectionError, match="user/other: no such folder, and the hub is out of reach"):
            energies.load("user/other")
