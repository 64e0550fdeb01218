"""Text that people bring: encodings are read, or named with a command that converts the file."""

import codecs
import gzip
import subprocess

import pytest

from pipeline.errors import DataError
from pipeline.manifests.manifest import file_captions
from pipeline.text_files import lines_of, read_text

TEXT = "a.jpg#0\tA man’s dog runs “fast” – on the café terrace.\nb.jpg#0\tTwo men.\n"


def refusal(file):
    with pytest.raises(DataError) as error:
        read_text(file)
    return str(error.value)


def converted(file, message):
    """The text after the command that the message gives."""
    (command,) = (line for line in message.splitlines() if "iconv" in line)
    command = command[command.rindex("Convert it: ") + len("Convert it: ") :]
    subprocess.run(["sh", "-c", command], check=True)
    return read_text(file.with_name("c d-utf8.tsv"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("name", ["c.tsv", "c.tsv.gz", "packed"])
def test_utf8_with_or_without_a_mark_is_read(tmp_path, encoding, name):
    content = TEXT.encode(encoding)
    (tmp_path / name).write_bytes(content if name == "c.tsv" else gzip.compress(content))
    assert read_text(tmp_path / name) == TEXT
    assert [caption.id for caption in file_captions(tmp_path / name)] == ["a.jpg#0", "b.jpg#0"]


@pytest.mark.parametrize(
    ("encoding", "mark", "named"),
    [
        ("cp1252", b"", "likely Windows-1252"),
        ("utf-16-le", codecs.BOM_UTF16_LE, "is UTF-16, as its byte order mark says"),
        ("utf-16-be", codecs.BOM_UTF16_BE, "is UTF-16, as its byte order mark says"),
        ("utf-32-le", codecs.BOM_UTF32_LE, "is UTF-32, as its byte order mark says"),
        ("utf-16-le", b"", "is UTF-16LE"),
        ("utf-16-be", b"", "is UTF-16BE"),
    ],
)
@pytest.mark.parametrize("is_packed", [False, True])
def test_another_encoding_is_named_and_the_advice_works(tmp_path, encoding, mark, named, is_packed):
    file = tmp_path / ("c d.tsv.gz" if is_packed else "c d.tsv")
    content = mark + TEXT.encode(encoding)
    file.write_bytes(gzip.compress(content) if is_packed else content)
    message = refusal(file)
    assert named in message
    assert converted(file, message) == TEXT


def test_single_broken_lines_are_to_be_corrected_not_the_whole_file_converted(tmp_path):
    (tmp_path / "c.tsv").write_bytes("a\tcafé\n".encode() + b"b\tcaf\xe9\nc\td\n")
    message = refusal(tmp_path / "c.tsv")
    assert "line 2 has the byte 0xe9" in message
    assert "1 line is not UTF-8, others are" in message
    assert "iconv" not in message


def test_bytes_of_no_known_encoding_leave_the_encoding_open(tmp_path):
    (tmp_path / "c.tsv").write_bytes(b"a\t\x83e\x83X\x81\x8d\n")  # Shift-JIS
    assert "iconv -f ENCODING -t utf-8" in refusal(tmp_path / "c.tsv")


def test_files_that_are_no_text_are_named(tmp_path):
    (tmp_path / "c.tsv").write_bytes(b"PK\x03\x04...")
    assert "is a zip archive" in refusal(tmp_path / "c.tsv")
    (tmp_path / "c.tsv").write_bytes(gzip.compress(b"a" * 1000)[:-9])
    assert "not a complete gzip file" in refusal(tmp_path / "c.tsv")
    assert "is a folder" in refusal(tmp_path)
    assert "is missing" in refusal(tmp_path / "d.tsv")


def test_marks_of_joined_files_are_passed_over():
    assert lines_of("\ufeffa\r\n\ufeffb\n") == ["a", "b"]


def test_carriage_returns_end_lines_where_they_end_the_last_one(tmp_path):
    (tmp_path / "mac.tsv").write_bytes(b"a\tone\rb\ttwo\r")
    assert lines_of(read_text(tmp_path / "mac.tsv", "file")) == ["a\tone", "b\ttwo"]
    (tmp_path / "inside.tsv").write_bytes(b"a\tone\rtwo\n")
    assert lines_of(read_text(tmp_path / "inside.tsv", "file")) == ["a\tone\rtwo"]
