"""A run on Hugging Face's Hub: candid push, before a stand-in for the Hub's own API.

The client is Hugging Face's, as a user has it; the server speaks the part of the API that it asks
for: who may write, repositories, what goes where, large files, commits.
"""

import base64
import hashlib
import json
import re
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import candid
from candid import runs
from candid.errors import ConfigError, DependencyError, OutputError, RunError
from candid.pipeline.publishing import push
from candid.predictions import write_predictions
from candid.records import Provenance, read_record, write_record
from candid.runs import open_run
from commands import candid as command
from inference.tiny import tiny_run

hub = pytest.importorskip("huggingface_hub")
constants = pytest.importorskip("huggingface_hub.constants")
yaml = pytest.importorskip("yaml")

# Of the client's own HTTP library about the client.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

TOKEN, NAMES = "hf_writes", [f"Grace_Hopper/{i:04d}.jpg" for i in range(60)]


@dataclass
class Hub:
    """What the stand-in holds: repositories by kind and name, files by name, and all requests."""

    private: dict[str, bool] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, method: str, path: str, body: bytes, token: str) -> tuple[int, object]:
        """Status and JSON, as huggingface.co answers."""
        path = path.partition("?")[0]
        self.asked.append(f"{method} {path}")
        if path.startswith("/large/"):  # a signed address: it needs no token
            assert hashlib.sha256(body).hexdigest() == path.removeprefix("/large/")
            self.large[path.removeprefix("/large/")] = body
            return 200, {}
        if token != f"Bearer {TOKEN}":
            return 403, {"error": "You don't have the rights to create a model here"}
        if path == "/api/validate-yaml":
            head = yaml.safe_load(json.loads(body)["content"].split("---")[1])
            sdk = head.get("sdk", "static") == "static"
            wrong = [] if head["license"] and sdk else [{"message": "no licence, or no sdk"}]
            return 200, {"errors": wrong, "warnings": []}
        if path == "/api/repos/create":
            return self._created(json.loads(body))
        if found := re.fullmatch(r"/api/(model|space)s/(\w+/[\w-]+)", path):
            name = f"{found[1]}s/{found[2]}"
            return 200, {"id": found[2], "private": self.private[name], "tags": [], "sha": "0" * 40}
        if found := re.fullmatch(r"/api/((?:model|space)s/\w+/[\w-]+)/preupload/main", path):
            return 200, {"files": [_way(f["path"]) for f in json.loads(body)["files"]]}
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            return 200, {"transfer": "basic", "objects": [self._large(o) for o in objects]}
        if found := re.fullmatch(r"/api/((?:model|space)s/\w+/[\w-]+)/commit/main", path):
            return self._commit(found[1], [json.loads(line) for line in body.splitlines()])
        return 404, {"error": f"the stand-in knows no {path}"}

    def _created(self, asked: dict) -> tuple[int, object]:
        kind = asked.get("type", "model")
        name = f"{kind}s/{asked['organization']}/{asked['name']}"
        url = f"{self.url}/{'spaces/' if kind == 'space' else ''}{name.partition('/')[2]}"
        if name in self.private:
            return 409, {"error": "You already created this repo", "url": url}
        assert (kind == "space") == (asked.get("sdk") == "static")
        shut = asked.get("private") is True or asked.get("visibility") == "private"
        self.private[name], self.files[name] = shut, {}
        return 200, {"url": url, "name": name, "id": name}

    def _large(self, about: dict) -> dict:
        href = f"{self.url}/large/{about['oid']}"
        return about | {"actions": {"upload": {"href": href, "header": {}}}}

    def _commit(self, name: str, lines: list[dict]) -> tuple[int, object]:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.files[name][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[name][value["path"]] = self.large[value["oid"]]
        return 200, {"commitOid": "c" * 40, "commitUrl": f"{self.url}/{name}/commit/{'c' * 40}"}


def _way(path: str) -> dict:
    mode = "lfs" if path.endswith(".safetensors") else "regular"
    return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": None}


@contextmanager
def listening(there: Hub):
    """The stand-in at a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_any(self) -> None:
            body = self._chunks() if "chunked" in self.headers.get("Transfer-Encoding", "") else b""
            body = body or self.rfile.read(int(self.headers.get("Content-Length", 0)))
            token = self.headers.get("Authorization", "")
            status, said = there.answer(self.command, self.path, body, token)
            answer = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_any

        def _chunks(self) -> bytes:
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def log_message(self, *about: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        there.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield there
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def there(monkeypatch):
    """The Hub that the client in this process speaks to, with a token that may write."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with listening(Hub()) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield server


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """A run that was evaluated, of a person who is named in the names of the pictures."""
    run = tiny_run(tmp_path_factory.mktemp("push") / "run", data="/home/somebody/photos")
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 60)
    predictions = candid.Predictions.from_arrays(
        np.array(["no", "yes"])[label],
        np.clip(0.6 * label + 0.4 * rng.random(60), 0, 1),
        target="Hat",
        ids=NAMES,
    )
    write_predictions(run.predictions_file, predictions)
    candid.evaluate(run, config=candid.load_config(overrides=["evaluate.draws=50"]))
    about = read_record(run.provenance, Provenance)
    write_record(run.provenance, Provenance(**_fields(about) | {"command": "candid run /home/x"}))
    picture = BytesIO()
    Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(picture, "png")
    runs.write_pictures(run, {("thumbnail", name): picture.getvalue() for name in NAMES})
    run.report.write_text(f"<html>the report, with {NAMES[0]}</html>", "utf-8")
    return open_run(run.path)


def _fields(record: Provenance) -> dict:
    return {name: getattr(record, name) for name in record.__slots__}


def text(there: Hub, repo: str, name: str) -> str:
    return there.files[repo][name].decode("utf-8")


def test_model_card_and_report_go_there_without_pictures_and_names_of_people(pushed, there, capsys):
    said = command(capsys, "push", pushed.path, "me/hats", "--space", "--json").out
    told = json.loads(said)
    assert [r["url"] for r in told["repos"]] == [f"{there.url}{s}/me/hats" for s in ("", "/spaces")]
    assert {r["commit"] for r in told["repos"]} == {"c" * 40}
    model, space = there.files["models/me/hats"], there.files["spaces/me/hats"]
    assert {f["name"]: f["bytes"] for f in told["repos"][0]["files"]} == {
        name: len(content) for name, content in model.items()
    }
    names = {"README.md", "config.json", "modeling_candid.py", "preprocessor_config.json"}
    assert model.keys() == names | {"model.safetensors"}
    assert space.keys() == {"README.md", "index.html"}
    card = hub.ModelCard(text(there, "models/me/hats", "README.md"), ignore_metadata_errors=False)
    assert card.data.library_name == "transformers"
    assert card.data.eval_results and "model='me/hats'" in card.text
    head = hub.RepoCard(text(there, "spaces/me/hats", "README.md")).data.to_dict()
    assert head["sdk"] == "static" and head["models"] == ["me/hats"]
    assert len(head["short_description"]) <= 60
    for content in (*model.values(), *space.values()):
        assert not any(word in content for word in (b"data:image", b"Grace_Hopper", b"/home/"))
    page = text(there, "spaces/me/hats", "index.html")
    assert "left out of this copy" in page
    judged = pushed.predictions  # what is said of all images is there
    assert f"{len(judged)} images" in page


def test_with_pictures_the_report_is_the_runs_own(pushed, there):
    push(pushed, "me/hats", space=True, with_pictures=True)
    page = text(there, "spaces/me/hats", "index.html")
    assert page == pushed.report.read_text("utf-8") and "Grace_Hopper" in page
    held = b"".join(there.files["models/me/hats"].values())
    assert b"Grace_Hopper" not in held and b"/home/" not in held


def test_a_dry_run_lists_what_would_go_and_speaks_to_nobody(pushed, there, monkeypatch, capsys):
    monkeypatch.delenv("HF_TOKEN")
    said = command(capsys, "push", pushed.path, "me/hats", "--dry-run").out
    assert re.search(r"^ +[\d,]+ model\.safetensors$", said, re.M)
    assert "would go to the model me/hats" in said
    assert "report.html: it goes with --space" in said and "--with-pictures" in said
    assert not there.asked
    assert command(capsys, "push", pushed.path, "me/hats", "--dry-run", "--quiet").out == ""
    told = json.loads(command(capsys, "push", pushed.path, "me/x", "--dry-run", "--json").out)
    assert told["dry_run"] is True and [r["kind"] for r in told["repos"]] == ["model"]


def test_private_is_private_and_what_is_open_is_not_written_to(pushed, there):
    assert push(pushed, "me/hats", private=True).repos[0].private
    assert there.private == {"models/me/hats": True}
    there.private["models/me/hats"] = False
    there.files["models/me/hats"] = {}
    with pytest.raises(OutputError, match="open to all, and was to be private"):
        push(pushed, "me/hats", private=True)
    assert there.files["models/me/hats"] == {}


def test_what_refuses_is_told(pushed, there, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_reads")
    said = command(capsys, "push", pushed.path, "me/hats", code=2).err
    assert "does not let this token write to me/hats (403" in said and "the rights" in said
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    said = command(capsys, "push", pushed.path, "me/hats", code=2).err
    assert "cannot be reached at http://127.0.0.1:9" in said
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    said = command(capsys, "push", pushed.path, "me/hats", code=2).err
    assert "There is no token" in said and "hf auth login" in said
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DependencyError, match="huggingface_hub"):
        push(pushed, "me/hats")


@pytest.mark.parametrize("name", ["hats", "me/ha ts", "me/../hats", "me/hats/x", "-me/hats", "me/"])
def test_a_name_that_no_repository_has_is_refused(pushed, name):
    with pytest.raises(ConfigError, match="no name of a repository"):
        push(pushed, name, dry_run=True)


def test_what_has_no_figures_or_no_page_is_refused(pushed, tmp_path):
    with pytest.raises(ConfigError, match="no Space"):
        push(pushed, "me/hats", with_pictures=True, dry_run=True)
    with pytest.raises(RunError, match=r"no evaluation\.json"):
        push(tiny_run(tmp_path / "bare"), "me/hats", dry_run=True)
