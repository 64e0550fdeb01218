"""What the server answers, and what it refuses."""

import http.client
import io
import json
import shutil
import sys
from types import SimpleNamespace
from urllib.parse import urlencode

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.errors import MissingExtraError
from resg.cli import main
from resg.errors import ResgError
from resg.index.folder import IndexFolder
from resg.search.index import Index
from resg.serve import app as serving
from resg.serve import requests
from resg.serve.requests import is_own_host
from resg.serve.server import listening, require_serve

TEXT = "a red circle is left of a blue square"


@pytest.fixture
def ask(address):
    """What sends a request and gives status, headers and body."""

    def send(path, body=None, headers=None, method=None, **query):
        connection = http.client.HTTPConnection(*address, timeout=60)
        target = f"{path}?{urlencode(query)}" if query else path
        connection.request(method or ("POST" if body else "GET"), target, body, headers or {})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        is_json = answer.headers.get("content-type") == "application/json"
        return SimpleNamespace(
            status=answer.status,
            headers=answer.headers,
            body=json.loads(content) if is_json else content,
        )

    return send


def test_the_page_asks_no_other_host(ask):
    page = ask("/")
    assert page.status == 200
    for file in ("/", "/app.js", "/style.css"):
        content = ask(file).body.decode()
        assert "http:" not in content
        assert "https:" not in content
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")


def test_a_text_finds_what_the_index_finds(ask, served_index):
    expected = served_index.search(TEXT, k=5).hits
    told = ask("/api/search", text=TEXT, k=5).body
    assert [hit["id"] for hit in told["hits"]] == [hit.id for hit in expected]
    assert told["notice"] == ""
    assert "zebra" in ask("/api/search", text="a red circle is left of a zebra").body["notice"]
    about = ask("/api/index").body
    assert (about["images"], about["name"]) == (12, "scenes.index")


def test_a_picture_of_ones_own_finds_similar_ones(ask, served_index):
    path = served_index.picture(served_index.images.entry(2).id)
    assert ask("/api/search", path.read_bytes()).body["hits"][0]["id"] == path.name
    assert ask("/api/similar", id=path.name, k=1).body["hits"][0]["id"] == path.name


def test_pictures_are_sent_as_small_copies(ask, served_index):
    id_ = served_index.images.entry(0).id
    for side in (320, 1600):
        answer = ask("/picture", id=id_, side=side)
        assert answer.headers["content-type"] == "image/jpeg"
        assert max(Image.open(io.BytesIO(answer.body)).size) <= side
    assert ask("/picture", id=id_, side=100_000).status == 400


def test_an_explanation_is_a_page_that_asks_nothing(ask, served_index):
    answer = ask("/explanation", id=served_index.images.entry(0).id, text=TEXT)
    assert answer.status == 200
    assert b"<svg" in answer.body
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("id_", ["../index.json", "/etc/passwd", "nothing.png", "", ".."])
@pytest.mark.parametrize("path", ["/picture", "/explanation", "/api/similar"])
def test_files_outside_the_index_are_refused(ask, path, id_):
    answer = ask(path, id=id_, text=TEXT)
    assert answer.status == 404
    assert "no such picture" in answer.body["error"]


@pytest.mark.parametrize("id_", ["../secret.png", "/secret.png", "a/../../secret.png"])
def test_an_index_from_elsewhere_cannot_name_other_files(served_index, id_):
    index = SimpleNamespace(
        images=SimpleNamespace(row_of={id_: 0}), picture=lambda name: served_index.root / name
    )
    with pytest.raises(serving.HTTPException, match="not in the folder"):
        serving._file(index, id_)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the caption is empty"),
        ("собака на пляже", "Latin letters"),
        ("ein roter Kreis neben der Straße", "Is it English"),
        ("a red circle " * 100, "at most 100 words"),
        ("word " * 1000, "at most 2000 characters"),
    ],
)
def test_a_query_that_means_nothing_is_refused(ask, text, message):
    answer = ask("/api/search", text=text)
    assert answer.status == 400
    assert message in answer.body["error"]


def png(width, height):
    stream = io.BytesIO()
    Image.new("1", (width, height)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"not a picture", 400, "in no format that Pillow can read"),
        (png(30_000, 30_000), 400, "the limit is 80 megapixels"),
        (b"x" * (serving.MAX_UPLOAD_BYTES + 1), 413, "more than 20 MiB"),
    ],
)
def test_a_bad_upload_is_refused(ask, content, status, message):
    answer = ask("/api/search", content)
    assert answer.status == status
    assert message in answer.body["error"]
    assert ask("/api/search", text=TEXT).status == 200  # it still works


def test_an_upload_without_a_length_is_cut_off(address, monkeypatch):
    monkeypatch.setattr(serving, "MAX_UPLOAD_BYTES", 2**20)
    connection = http.client.HTTPConnection(*address, timeout=60)
    pieces = (b"x" * 2**16 for _ in range(17))
    connection.request("POST", "/api/search", pieces, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_an_empty_upload_is_refused(ask):
    answer = ask("/api/search", method="POST")
    assert (answer.status, answer.body["error"]) == (400, "expected a picture, got nothing.")


@pytest.mark.parametrize("host", ["evil.org", "evil.org:8000", "127.0.0.1.evil.org", ""])
def test_other_host_names_are_refused(ask, host):
    assert ask("/api/index", headers={"Host": host}).status == 421


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("localhost:8000", True),
        ("LOCALHOST", True),
        ("127.0.0.1", True),
        ("[::1]:8000", True),
        ("192.168.1.7:80", True),
        ("photos.lan", True),
        ("example.org", False),
        ("[evil]", False),
    ],
)
def test_a_host_is_an_address_or_an_allowed_name(host, is_own):
    assert is_own_host(host, frozenset({"photos.lan"})) is is_own


def test_requests_from_other_sites_are_refused(ask):
    cross = {"Sec-Fetch-Site": "cross-site"}
    assert ask("/api/search", headers=cross, text=TEXT).status == 403
    assert ask("/api/search", b"picture", headers=cross).status == 403
    assert ask("/", headers=cross).status == 200  # a link to the page
    answer = ask("/api/index", headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status == 200
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_too_many_requests_at_once_are_told_to_come_again(monkeypatch):
    monkeypatch.setattr(requests, "MAX_WAITING", 1)
    gate = requests.Gate()
    with gate.entered():
        with pytest.raises(serving.HTTPException) as caught, gate.entered():
            pass
        assert caught.value.status_code == 503
    with gate.entered():
        pass


def test_an_index_of_shards_has_no_pictures_to_show(served_index, picture_run):
    index = Index(served_index.folder.path, served_index.run)
    index.root = None
    with pytest.raises(serving.HTTPException, match="--root DIR"):
        serving._file(index, index.images.entry(0).id)


def test_two_servers_on_one_port_are_refused(address):
    host, port = address
    with pytest.raises(ResgError, match=r"is in use.*--port N"):
        listening(host, port)
    with pytest.raises(ResgError, match="an address and a port of this machine"):
        listening("203.0.113.1", 0)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingExtraError, match=r"resg\[serve\]"):
        require_serve()


def test_the_command_prints_where_the_page_is(served_index, picture_run, monkeypatch):
    served = []
    monkeypatch.setattr(
        "uvicorn.Server.run", lambda self, sockets: served.append(sockets[0].getsockname())
    )
    path = served_index.folder.path
    arguments = ["serve", str(path), "--port", "0", "--device", "cpu"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    (host, port) = served[0]
    assert host == "127.0.0.1"
    assert f"http://127.0.0.1:{port}/" in done.stdout


def test_a_picture_that_is_gone_is_said(ask, served_index):
    id_ = served_index.images.entry(5).id
    path = served_index.picture(id_)
    shutil.move(path, path.with_suffix(".gone"))
    try:
        answer = ask("/picture", id=id_, side=1600)
        assert (answer.status, "is missing" in answer.body["error"]) == (400, True)
    finally:
        shutil.move(path.with_suffix(".gone"), path)


def test_the_index_is_read_only_for_the_server(ask, served_index):
    before = IndexFolder.read(served_index.folder.path).state
    ask("/api/search", text=TEXT)
    assert IndexFolder.read(served_index.folder.path).state == before
    assert ask("/api/index", method="DELETE").status == 405
    assert np.isfinite([h["score"] for h in ask("/api/search", text=TEXT).body["hits"]]).all()
