"""Files below one folder, and nothing else."""

from pathlib import Path

import pytest

from tests.unit.http.served import Served
from xapi_py.http.static import StaticFiles


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "www"
    (folder / "sub").mkdir(parents=True)
    (folder / "index.html").write_text("<p>index")
    (folder / "a b.js").write_text("1")
    (folder / "big.bin").write_bytes(b"x" * 300_000)
    (folder / "inside").symlink_to("a b.js")
    (folder / "outside").symlink_to("../secret")
    (folder / "loop").symlink_to("loop")
    (tmp_path / "secret").write_text("secret")
    return folder


def get(root: Path, path: str) -> tuple[int, str, bytes]:
    served = Served(routes=lambda routes: routes.add("GET", "/", StaticFiles(root)))
    served.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    (answer,) = served.answers()
    return answer.status, answer.headers.get("content-type", ""), answer.body


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("/", "text/html; charset=utf-8", b"<p>index"),
        ("/?session_id=x", "text/html; charset=utf-8", b"<p>index"),
        ("/a%20b.js", "text/javascript", b"1"),
        ("//a%20b.js", "text/javascript", b"1"),
        ("/inside", "text/javascript", b"1"),
        ("/big.bin", "application/octet-stream", b"x" * 300_000),
    ],
)
def test_a_file_is_served_with_its_type(root: Path, path: str, kind: str, body: bytes) -> None:
    assert get(root, path) == (200, kind, body)


@pytest.mark.parametrize(
    "path",
    [
        "/nosuch",
        "/sub",
        "/loop",
        "/outside",
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/sub/../../secret",
        "/sub/%2e%2e/%2e%2e/secret",
        "/%00",
        "/index.html/x",
        "/%ff%fe",
    ],
)
def test_nothing_else_is_served(root: Path, path: str) -> None:
    status, _, body = get(root, path)
    assert status in (403, 404)
    assert b"secret" not in body


def test_without_the_folder_everything_is_forbidden(tmp_path: Path) -> None:
    assert get(tmp_path / "none", "/")[0] == 403
