"""Read text files that people bring: UTF-8 with or without a byte order mark, gzipped or not."""

import codecs
import gzip
import unicodedata
import zlib
from pathlib import Path
from shlex import quote

from pipeline.errors import DataError

_MARKS = (  # the longer ones first: UTF-32's little-endian mark begins with UTF-16's
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
_SAMPLE = 4096  # bytes in which UTF-16 without a mark is looked for


def read_text(file: Path, kind: str = "file", *, keep_undecodable: bool = False) -> str:
    """The text of a UTF-8 file without its byte order mark; gzip is unpacked, whatever its name.

    Args:
        file: the file.
        kind: the noun for it in messages, such as `caption file`.
        keep_undecodable: keep bytes that are not UTF-8 as lone surrogates instead of refusing them.

    Raises:
        DataError: the file is missing, damaged or in another encoding. The message names the
            encoding as far as the bytes show it, and the command that converts the file.
    """
    content = _unpacked(file, kind)
    if content.startswith(_ZIP):
        raise DataError(
            f"{file} is a zip archive (or a spreadsheet), expected text in UTF-8. "
            "Unpack it, or export it as text."
        )
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            raise DataError(
                f"{file} is {encoding}, as its byte order mark says; expected UTF-8. "
                f"{_conversion(file, encoding)}"
            )
    if (unmarked := _unmarked_utf16(content)) is not None:
        raise DataError(
            f"{file} is {unmarked}, as every second byte is 0; expected UTF-8. "
            f"{_conversion(file, unmarked)}"
        )
    if content.endswith(b"\r") and b"\n" not in content:  # the line ends of old Macs
        content = content.replace(b"\r", b"\n")
    try:
        return content.decode("utf-8-sig", "surrogateescape" if keep_undecodable else "strict")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} {_undecodable(file, content, error.start)}") from error


def existing_path(path: Path) -> Path:
    """The path, or one that exists and has the same letters in Unicode's other composition.

    Some systems write `é` as one letter (NFC), others, such as macOS, as `e` and an accent (NFD).
    """
    if str(path).isascii() or path.exists():
        return path
    others = (Path(unicodedata.normalize(form, str(path))) for form in ("NFC", "NFD"))
    return next((other for other in others if other.exists()), path)


def lines_of(text: str) -> list[str]:
    """The lines of a text, without their ends and without byte order marks of joined files.

    Not `splitlines()`, which also cuts at control characters that may stand inside a caption.
    """
    lines = [line.removesuffix("\r").removeprefix("\ufeff") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def _unpacked(file: Path, kind: str) -> bytes:
    try:
        content = file.read_bytes()
        return gzip.decompress(content) if content.startswith(_GZIP) else content
    except FileNotFoundError as error:
        raise DataError(f"the {kind} {file} is missing. Check the path.") from error
    except IsADirectoryError as error:
        raise DataError(f"expected a {kind} at {file}, but that is a folder.") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{file} is not a complete gzip file: {error}. Download it again."
        ) from error


def _unmarked_utf16(content: bytes) -> str | None:
    """UTF-16's byte order if the text, mostly ASCII, has a 0 in every second byte."""
    sample = content[:_SAMPLE]
    even, odd = sample[::2], sample[1::2]
    if len(odd) > 1 and 2 * odd.count(0) > len(odd) and not even.count(0):
        return "UTF-16LE"
    if len(even) > 1 and 2 * even.count(0) > len(even) and not odd.count(0):
        return "UTF-16BE"
    return None


def _undecodable(file: Path, content: bytes, start: int) -> str:
    """Why bytes are not UTF-8, and what to do: convert the file, or mend single lines of it."""
    number = content.count(b"\n", 0, start) + 1
    fault = (
        f"should be UTF-8, but line {number} has the byte 0x{content[start]:02x} at offset {start}"
    )
    broken = [line for line in content.split(b"\n") if not _is_utf8(line)]
    readable = content.decode("utf-8", "ignore")
    if any(character > "\x7f" for character in readable.lstrip("\ufeff")):
        lines = "line is" if len(broken) == 1 else "lines are"
        return (
            f"{fault}. {len(broken):,} {lines} not UTF-8, others are, so converting the whole file "
            "would spoil those: correct or remove such lines."
        )
    if _is_windows_1252(b"\n".join(broken)):
        return (
            f"{fault}. It is likely Windows-1252. {_conversion(file, 'windows-1252')}"
            "\nIf letters look wrong then, name the encoding of the program that wrote it."
        )
    return (
        f"{fault}. Convert it from the encoding of the program that wrote it, for example: "
        f"{_command(file, 'ENCODING')}"
    )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_windows_1252(text: bytes) -> bool:
    try:
        text.decode("cp1252")
    except UnicodeDecodeError:
        return False
    return True


def _conversion(file: Path, encoding: str) -> str:
    return f"Convert it: {_command(file, encoding.lower())}"


def _command(file: Path, encoding: str) -> str:
    """A shell command that writes the file's text as UTF-8 beside it."""
    with file.open("rb") as stream:
        is_packed = stream.read(len(_GZIP)) == _GZIP
    plain = file.with_suffix("") if file.suffix == ".gz" else file
    new = quote(str(plain.with_name(f"{plain.stem}-utf8{plain.suffix}")))
    if is_packed:
        return f"gunzip -c < {quote(str(file))} | iconv -f {encoding} -t utf-8 > {new}"
    return f"iconv -f {encoding} -t utf-8 {quote(str(file))} > {new}"
