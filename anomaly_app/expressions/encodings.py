"""Helpers of the functions between texts, bytes and digests, on values that are not NULL."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
import struct
import urllib.parse
from decimal import Decimal

from anomaly_app.errors import EvaluationError


def as_bytes(value: str | bytes) -> bytes:
    """The bytes of a text in UTF-8."""
    return value if isinstance(value, bytes) else value.encode()


_CHARSETS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "iso-8859-1": "latin-1",
    "latin1": "latin-1",
    "utf-16": "utf-16",
    "utf-16be": "utf-16-be",
    "utf-16le": "utf-16-le",
    "windows-1252": "cp1252",
    "cp1252": "cp1252",
}
_NUMBERED = re.compile(r"(?:iso-8859-([2-9]|1[0-6])|windows-(125[0-8]))")


@functools.lru_cache(maxsize=64)
def _charset(name: str) -> str:
    known = _CHARSETS.get(name.lower())
    if known is None and (found := _NUMBERED.fullmatch(name.lower())):
        known = f"iso8859-{found[1]}" if found[1] else f"cp{found[2]}"
    if known is None:
        raise EvaluationError(f"the character set {name!r} is not known: there are {', '.join(_CHARSETS)}")
    return known


def encode(value: str, charset: str) -> bytes:
    """The bytes of a text; a question mark for what the character set does not have.

    Example:
        >>> encode("\u00e4", "ISO-8859-1").hex(), encode("a\u20ac", "US-ASCII"), encode("a", "UTF-16").hex()
        ('e4', b'a?', 'feff0061')
    """
    name = _charset(charset)
    if name == "utf-16":
        return b"\xfe\xff" + value.encode("utf-16-be") if value else b""
    return value.encode(name, "replace")


def decode(value: bytes, charset: str) -> str:
    """The text of bytes; the replacement character for what is none."""
    name = _charset(charset)
    if name == "utf-16":
        name = "utf-16-le" if value.startswith(b"\xff\xfe") else "utf-16-be"
        value = value[2:] if value[:2] in (b"\xff\xfe", b"\xfe\xff") else value
    return value.decode(name, "replace")


_BASE64 = re.compile(r"([A-Za-z0-9+/]*)(={0,2})")


def to_base64(value: str | bytes) -> str:
    """Base 64 with padding."""
    return base64.b64encode(as_bytes(value)).decode()


def from_base64(value: str | bytes) -> str:
    """The text that stands there in base 64; the padding may be missing.

    Raises:
        EvaluationError: it is not base 64.

    Example:
        >>> from_base64("aGk="), from_base64("aGk")
        ('hi', 'hi')
    """
    text = value if isinstance(value, str) else value.decode("latin-1")
    found = _BASE64.fullmatch(text)
    if found is None or len(found[1]) % 4 == 1 or (found[2] and len(text) % 4):
        raise EvaluationError(f"{text!r} is not base 64")
    return base64.b64decode(found[1] + "=" * (-len(found[1]) % 4)).decode(errors="replace")


def url_encode(value: str) -> str:
    """As a form sends it: blanks become plus signs.

    Example:
        >>> url_encode("a b/~*")
        'a+b%2F%7E*'
    """
    return urllib.parse.quote_plus(value, safe="*").replace("~", "%7E")


_BAD_ESCAPE = re.compile("%(?![0-9a-fA-F]{2})")


def url_decode(value: str) -> str | None:
    """What a form has sent; NULL for a percent sign without two digits."""
    return None if _BAD_ESCAPE.search(value) else urllib.parse.unquote_plus(value, errors="replace")


def md5(value: str | bytes) -> str:
    """Hexadecimal digest."""
    return hashlib.md5(as_bytes(value), usedforsecurity=False).hexdigest()


def sha1(value: str | bytes) -> str:
    """Hexadecimal digest."""
    return hashlib.sha1(as_bytes(value), usedforsecurity=False).hexdigest()


def sha224(value: str | bytes) -> str:
    """Hexadecimal digest."""
    return hashlib.sha224(as_bytes(value)).hexdigest()


def sha256(value: str | bytes) -> str:
    """Hexadecimal digest."""
    return hashlib.sha256(as_bytes(value)).hexdigest()


def sha384(value: str | bytes) -> str:
    """Hexadecimal digest."""
    return hashlib.sha384(as_bytes(value)).hexdigest()


def sha512(value: str | bytes) -> str:
    """Hexadecimal digest."""
    return hashlib.sha512(as_bytes(value)).hexdigest()


_SHA2 = {224: sha224, 256: sha256, 384: sha384, 512: sha512}


def sha2(value: str | bytes, length: int) -> str:
    """Hexadecimal digest of 224, 256, 384 or 512 bits."""
    if length not in _SHA2:
        raise EvaluationError(f"SHA2 has 224, 256, 384 or 512 bits, not {length}")
    return _SHA2[length](value)


def _signed(value: int) -> int:
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value >> 31 else value


def hash_text(value: str) -> int:
    """Java's hash code of a text, over its UTF-16 units, without its sign.

    Example:
        >>> hash_text("xyz"), hash_text("")
        (119193, 0)
    """
    data = value.encode("utf-16-le", "surrogatepass")
    result = 0
    for unit in struct.unpack(f"<{len(data) // 2}H", data):
        result = (result * 31 + unit) & 0xFFFF_FFFF
    return abs(_signed(result))


def hash_boolean(value: bool) -> int:
    """Java's hash code."""
    return 1231 if value else 1237


def hash_long(value: int) -> int:
    """Java's hash code of 64 bits."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    return _signed(value ^ (value >> 32))


def hash_double(value: float) -> int:
    """Java's hash code of a double."""
    return hash_long(0x7FF8_0000_0000_0000 if value != value else int(struct.unpack("<q", struct.pack("<d", value))[0]))


def hash_float(value: float) -> int:
    """Java's hash code of a single-precision number."""
    return 0x7FC0_0000 if value != value else int(struct.unpack("<i", struct.pack("<f", value))[0])


def hash_decimal(value: Decimal) -> int:
    """Java's hash code: of the digits, and the scale.

    Example:
        >>> hash_decimal(Decimal("1.5"))
        466
    """
    sign, digits, exponent = value.as_tuple()
    number, result = int("".join(map(str, digits))), 0
    for shift in range(max(number.bit_length() - 1, 0) // 32 * 32, -1, -32):
        result = (result * 31 + (number >> shift & 0xFFFF_FFFF)) & 0xFFFF_FFFF
    return _signed((-result if sign else result) * 31 - int(exponent))
