"""A registry of packages on loopback, served by a real HTTP server: what stands behind the pool's own."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Pages = dict[str, tuple[str, bytes]]


def wheel(name: str, version: str, *, requires: str | None = None) -> tuple[str, bytes]:
    """A Python package with one module, of the package's name, that knows its version."""
    about = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    if requires is not None:
        metadata += f"Requires-Dist: {requires}\n"
    files = {
        f"{name}.py": f"__version__ = {version!r}\n",
        f"{about}/METADATA": metadata,
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        hashed = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={hashed},{len(text)}\n"
    files[f"{about}/RECORD"] = record + f"{about}/RECORD,,\n"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        for path, text in files.items():
            zipped.writestr(path, text)
    return f"{name}-{version}-py3-none-any.whl", archive.getvalue()


@dataclass
class Index:
    """pages: path → content type and content.  asked: every path that was asked for, in order."""

    url: str
    pages: Pages = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def add_wheel(
        self, name: str, version: str, *, requires: str | None = None, damaged: bool = False
    ) -> str:
        """A Python package; answers the path of its file.  damaged: not with the hash its page says."""
        file, content = wheel(name, version, requires=requires)
        digest = hashlib.sha256(content).hexdigest()
        path = f"/files/{file}"
        self.pages[path] = ("application/octet-stream", content[:-1] + b"x" if damaged else content)
        page = f"/simple/{name}/"
        link = f'<a href="../../files/{file}#sha256={digest}">{file}</a><br>\n'
        self.pages[page] = ("text/html", self.pages.get(page, ("", b""))[1] + link.encode())
        return path

    def add_npm(self, name: str, version: str, *, requires: dict[str, str] | None = None) -> str:
        """A package of JavaScript; answers the path of its file."""
        module = f"module.exports = {json.dumps(version)};\n"
        about = {"name": name, "version": version, "main": "index.js", "dependencies": requires or {}}
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for file, text in (("package.json", json.dumps(about)), ("index.js", module)):
                entry = tarfile.TarInfo(f"package/{file}")
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
        path = f"/packed/{name}/{version}.tgz"
        self.pages[path] = ("application/octet-stream", packed.getvalue())
        hashed = base64.b64encode(hashlib.sha512(packed.getvalue()).digest()).decode()
        page = f"/npm/{name.replace('/', '%2F')}"
        document = json.loads(self.pages.get(page, ("", b'{"versions": {}}'))[1])
        dist = {"tarball": f"{self.url}{path}", "integrity": f"sha512-{hashed}"}
        document["versions"][version] = {**about, "dist": dist}
        document |= {"name": name, "dist-tags": {"latest": version}}
        self.pages[page] = ("application/json", json.dumps(document).encode())
        return path

    def add_crate(self, name: str, version: str) -> str:
        """A crate with a program that says its version; answers the path of its file."""
        manifest = f'[package]\nname = "{name}"\nversion = "{version}"\nedition = "2018"\n'
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            program = f'fn main() {{ println!("{name} {version}"); }}\n'
            for file, text in (("Cargo.toml", manifest), ("src/main.rs", program)):
                entry = tarfile.TarInfo(f"{name}-{version}/{file}")
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
        path = f"/crates/{name}-{version}.crate"
        self.pages[path] = ("application/gzip", packed.getvalue())
        config = {"dl": f"{self.url}/crates/{{crate}}-{{version}}.crate"}
        self.pages["/cargo/config.json"] = ("application/json", json.dumps(config).encode())
        page = f"/cargo/{name[:2]}/{name[2:4]}/{name}"
        about = {"name": name, "vers": version, "deps": [], "features": {}, "yanked": False}
        line = json.dumps({**about, "cksum": hashlib.sha256(packed.getvalue()).hexdigest()}) + "\n"
        self.pages[page] = ("text/plain", self.pages.get(page, ("", b""))[1] + line.encode())
        return path

    def add_gem(self, name: str, version: str, content: bytes, specification: bytes) -> str:
        """A gem that somebody has built, with its specification as the index has it; its file's path."""
        path = f"/gems/gems/{name}-{version}.gem"
        self.pages[path] = ("application/octet-stream", content)
        quick = f"/gems/quick/Marshal.4.8/{name}-{version}.gemspec.rz"
        self.pages[quick] = ("application/octet-stream", specification)
        page = f"/gems/info/{name}"
        line = f"{version} |checksum:{hashlib.sha256(content).hexdigest()},ruby:>= 2.0\n"
        self.pages[page] = ("text/plain", self.pages.get(page, ("", b"---\n"))[1] + line.encode())
        return path


@contextmanager
def package_index() -> Iterator[Index]:
    """An empty registry, served until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append(self.path)
            kind, content = index.pages.get(self.path, ("text/plain", b"not here"))
            self.send_response(200 if self.path in index.pages else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        index = Index(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()
