"""A small Hub on this machine for the tests of pushing: what huggingface_hub's client asks for, and faults.

Repositories live in memory. Large files (*.safetensors) come by the LFS protocol, through addresses that
carry their own permission and never see a token.
"""

import base64
import hashlib
import json
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

WRITE, READ = "hf_" + "W" * 34, "hf_" + "R" * 34
USERS = {WRITE: ("ann", "write"), READ: ("ann", "read")}
SIGNATURE = "sig=loopbacksignature"


@dataclass
class Fault:
    """What happens to the next `times` requests that match."""

    path: str
    method: str = ".*"
    times: int = 1
    status: int = 0  # answer this, do nothing
    headers: dict = field(default_factory=dict)
    body: bytes = b'{"error": "as asked"}'
    drop: bool = False  # close the connection, do nothing
    lose: bool = False  # do it, then close the connection
    stall: float = 0.0  # seconds of silence before anything else


@dataclass
class Repo:
    private: bool
    branches: dict
    commits: dict  # oid -> {path: content}
    messages: list


class Hub(ThreadingHTTPServer):
    """A running Hub; use it with `with`.

    Args:
        listening: A socket that listens, for a Hub at the address of others before it; None: an address of
            its own.
        home: The home of its user, for the tests.
    """

    daemon_threads = True

    def __init__(self, listening: socket.socket | None = None, home: Path | None = None):
        super().__init__(("127.0.0.1", 0), Handler, bind_and_activate=listening is None)
        if listening:
            self.socket.close()
            self.socket = listening.dup()
        self.home = home
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.repos, self.objects, self.faults, self.log = {}, {}, [], []
        self.lock = threading.RLock()
        self.damage = b""  # what the Hub adds to each small file that it takes

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        pass  # a client that was cut off

    def create(self, name, private=True, files=None):
        repo = self.repos[name] = Repo(private, {}, {}, [])
        repo.branches["main"] = self.commit(repo, None, files or {}, "initial commit")
        return repo

    def commit(self, repo, parent, files, message):
        tree = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
        text = json.dumps([parent, tree, message, len(repo.commits)])
        oid = hashlib.sha1(text.encode()).hexdigest()
        repo.commits[oid] = files
        repo.messages.append(message)
        return oid

    def files(self, name, branch="main"):
        """Returns a branch's files: path -> content."""
        return self.repos[name].commits[self.repos[name].branches[branch]]

    def paths(self):
        """Returns what was asked, such as "POST /api/repos/create"."""
        return [f"{method} {path}" for method, path, _, _ in self.log]


class Problem(Exception):
    """An answer that is an error."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do(self):
        self.parts = urlsplit(self.path)
        path = unquote(self.parts.path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = self.read_chunks()
        self.server.log.append((self.command, path, self.headers.get("Authorization"), self.body))
        fault = self.next_fault(path)
        if fault:
            time.sleep(fault.stall)
            if fault.status:
                return self.reply(fault.body, fault.status, **fault.headers)
            if fault.drop:
                self.close_connection = True
                return None
        with self.server.lock:
            try:
                answer = self.answer(path)
            except Problem as problem:
                status, message = problem.args
                answer = json.dumps({"error": message}).encode(), status, {"X-Error-Message": message}
        if fault and fault.lose:
            self.close_connection = True
            return None
        content, status, headers = answer if isinstance(answer, tuple) else (answer, 200, {})
        return self.reply(content, status, **headers)

    do_GET = do_POST = do_PUT = do_HEAD = do

    def read_chunks(self):
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def next_fault(self, path):
        for fault in self.server.faults:
            if fault.times and re.search(fault.path, path) and re.fullmatch(fault.method, self.command):
                fault.times -= 1
                return fault
        return None

    def reply(self, content, status=200, **headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(data), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def user(self):
        header = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if header not in USERS:
            raise Problem(401, f"Invalid credentials {header}")  # a Hub that repeats what it was sent
        return USERS[header]

    def answer(self, path):
        routes = {
            r"/api/whoami-v2": self.whoami,
            r"/api/repos/create": self.create,
            r"/api/validate-yaml": lambda: {"errors": [], "warnings": []},
            r"/api/models/([^/]+/[^/]+)/auth-check/write": self.writable,
            r"/api/models/([^/]+/[^/]+)/branch/(.+)": self.branch,
            r"/api/models/([^/]+/[^/]+)/paths-info/(.+)": self.paths_info,
            r"/api/models/([^/]+/[^/]+)/preupload/(.+)": self.preupload,
            r"/api/models/([^/]+/[^/]+)/commit/(.+)": self.commit,
            r"/api/models/([^/]+/[^/]+)/tree/([^/]+)(?:/.*)?": self.tree,
            r"/api/models/([^/]+/[^/]+?)(?:/revision/(.+))?": self.info,
            r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch": self.batch,
            r"/([^/]+/[^/]+)\.git/info/lfs/verify": lambda name: {},
            r"/storage/([0-9a-f]{64})": self.store,
            r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)": self.resolve,
        }
        for pattern, function in routes.items():
            if match := re.fullmatch(pattern, path):
                return function(*match.groups())
        raise Problem(404, f"no such address: {path}")

    def repo(self, name, write=False):
        if name not in self.server.repos:
            raise Problem(404, "Repository not found")
        if write and (self.user()[1] != "write" or name.split("/")[0] != self.user()[0]):
            raise Problem(403, "no right to write there")
        return self.server.repos[name]

    def content(self, name, revision):
        repo = self.repo(name)
        oid = repo.branches.get(revision or "main", revision)
        if oid not in repo.commits:
            raise Problem(404, "Invalid rev id")
        return oid, repo.commits[oid]

    def whoami(self):
        name, role = self.user()
        return {"name": name, "orgs": [], "auth": {"accessToken": {"role": role}}}

    def create(self):
        data = json.loads(self.body)
        name = f"{data.get('organization') or self.user()[0]}/{data['name']}"
        if name in self.server.repos:
            return {"error": "exists", "url": f"{self.server.url}/{name}"}, 409, {}
        if name.split("/")[0] != self.user()[0]:
            raise Problem(403, "not your namespace")
        self.server.create(name, data.get("visibility") == "private" or bool(data.get("private")))
        return {"url": f"{self.server.url}/{name}"}

    def writable(self, name):
        self.repo(name, write=True)
        return {}

    def branch(self, name, branch):
        repo = self.repo(name, write=True)
        if branch in repo.branches:
            raise Problem(409, "exists")
        repo.branches[branch] = repo.branches["main"]
        return {}

    def info(self, name, revision):
        oid, files = self.content(name, revision)
        siblings = [{"rfilename": path} for path in files]
        return {"id": name, "sha": oid, "private": self.repo(name).private, "siblings": siblings, "tags": []}

    def describe(self, path, content):
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry = {"type": "file", "path": path, "size": len(content), "oid": blob}
        if path.endswith(".safetensors"):
            sha256 = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
        return entry

    def paths_info(self, name, revision):
        _, files = self.content(name, revision)
        asked = parse_qs(self.body.decode())["paths"]
        return [self.describe(path, files[path]) for path in asked if path in files]

    def tree(self, name, revision):
        return [self.describe(*item) for item in self.content(name, revision)[1].items()]

    def preupload(self, name, revision):
        self.repo(name, write=True)
        mode = {True: "lfs", False: "regular"}
        files = [file["path"] for file in json.loads(self.body)["files"]]
        return {
            "files": [
                {"path": path, "uploadMode": mode[path.endswith(".safetensors")], "shouldIgnore": False}
                for path in files
            ]
        }

    def batch(self, name):
        self.repo(name, write=True)
        objects = []
        for item in json.loads(self.body)["objects"]:
            entry = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.server.objects:
                href = f"{self.server.url}/storage/{item['oid']}?{SIGNATURE}"
                entry["actions"] = {"upload": {"href": href}}
            objects.append(entry)
        return {"transfer": "basic", "objects": objects}

    def store(self, oid):
        if self.parts.query != SIGNATURE or self.headers.get("Authorization"):
            raise Problem(400, "one way to be allowed, please")
        if self.command == "PUT":
            if hashlib.sha256(self.body).hexdigest() != oid:
                raise Problem(400, "other bytes")
            self.server.objects[oid] = self.body
        return self.server.objects[oid]

    def commit(self, name, branch):
        repo = self.repo(name, write=True)
        lines = [json.loads(line) for line in self.body.splitlines()]
        header, head = lines[0]["value"], repo.branches[branch]
        if header.get("parentCommit", head) != head:
            raise Problem(412, "a commit has happened since")
        files, damage = dict(repo.commits[head]), self.server.damage
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "lfsFile":
                content = self.server.objects[value["oid"]]
            else:
                content = base64.b64decode(value["content"]) + damage
            files[value["path"]] = content
        repo.branches[branch] = oid = self.server.commit(repo, head, files, header["summary"])
        return {"success": True, "commitOid": oid, "commitUrl": f"{self.server.url}/{name}/commit/{oid}"}

    def resolve(self, name, revision, path):
        oid, files = self.content(name, revision)
        if path not in files:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": oid}
            return b"", 404, headers
        etag = hashlib.sha256(files[path]).hexdigest()
        return files[path], 200, {"ETag": f'"{etag}"', "X-Repo-Commit": oid}
