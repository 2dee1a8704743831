"""SymmetricEncryption's wire format, as the Ruby library of that name writes it; read in its source, 4.x and 5.0.

Text is base64. A value may begin with a header: `@EnC`, version, flags, then what the flags announce.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.padding import PKCS7

from canvas_sync_dagster.errors import ProvenanceError

MAGIC = b"@EnC"
COMPRESSED, IV, KEY, CIPHER, TAG, CHUNKED = 0x80, 0x40, 0x20, 0x10, 0x08, 0x04
LARGEST_PLAINTEXT = 8 << 20
"""Largest decompressed size in bytes; guards against zip bombs."""
SIZES = {"aes-128": 16, "aes-192": 24, "aes-256": 32}
MOST_WRAPPINGS = 3
"""Levels of encrypted keys in a value. The Ruby library writes one; without a limit 64 KB hold enough levels to exhaust
Python's stack."""


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A key of the configuration.

    Attributes:
        key: 16, 24 or 32 bytes.
        iv: Initialization vector for values that contain none.
        version: Version of the configuration; None for any.
    """

    key: bytes = field(repr=False)
    iv: bytes | None = field(default=None, repr=False)
    version: int | None = None


@dataclass(frozen=True, slots=True)
class _Header:
    version: int
    flags: int
    iv: bytes | None
    key: bytes | None
    cipher: str
    tag: bytes | None
    before_tag: bytes


def decrypt(text: str, keys: list[SecretKey]) -> bytes:
    """Decrypt a value.

    Args:
        text: The value in base64, as it was delivered.
        keys: Configured keys; the first one is the primary.

    Raises:
        ProvenanceError: The value was not encrypted with one of the keys, or is damaged.
    """
    try:
        # Ruby's own decoder skips foreign characters.
        data = base64.b64decode(re.sub(r"[^A-Za-z0-9+/=]", "", text.translate({45: "+", 95: "/"})))
        return _decrypt(data, keys, MOST_WRAPPINGS)
    except (binascii.Error, ValueError, IndexError, zlib.error, InvalidTag) as error:
        raise ProvenanceError("the payload cannot be decrypted with PRODUCTION_KEY1") from error


def _decrypt(data: bytes, keys: list[SecretKey], wrappings: int) -> bytes:
    if not data.startswith(MAGIC) or len(data) <= 6:
        return _cbc(data, keys[0].key, _fixed(keys[0]))
    header, rest = _header(data)
    if header.flags & CHUNKED:
        raise ValueError("the value is an encrypted file")
    chosen = _of_version(keys, header.version)
    key = _decrypt_key(header.key, chosen, wrappings) if header.key is not None else chosen.key
    if header.cipher and header.cipher[:7] in SIZES and len(key) != SIZES[header.cipher[:7]]:
        raise ValueError("the key is not of the cipher's size")
    if header.tag is not None:
        plain = AESGCM(key).decrypt(header.iv or _fixed(chosen), rest + header.tag, header.before_tag)
    else:
        plain = _cbc(rest, key, header.iv or _fixed(chosen))
    return _inflated(plain) if header.flags & COMPRESSED else plain


def _decrypt_key(wrapped: bytes, chosen: SecretKey, wrappings: int) -> bytes:
    if wrapped.startswith(MAGIC):
        if wrappings == 1:
            raise ValueError("the key is encrypted too many times")
        return _decrypt(wrapped, [chosen], wrappings - 1)
    return _cbc(wrapped, chosen.key, _fixed(chosen))


def _of_version(keys: list[SecretKey], version: int) -> SecretKey:
    fitting = (key for key in keys if key.version in {None, version})
    found = next(fitting, keys[0] if version == 0 else None)
    if found is None:
        raise ValueError(f"no key of version {version} is configured")
    return found


def _header(data: bytes) -> tuple[_Header, bytes]:
    version, flags, at = data[4], data[5], 6

    def take() -> bytes:
        nonlocal at
        size = int.from_bytes(data[at : at + 2], "little")
        value = data[at + 2 : at + 2 + size]
        if len(value) != size or at + 2 > len(data):
            raise ValueError("the header ends early")
        at += 2 + size
        return value

    iv = take() if flags & IV else None
    key = take() if flags & KEY else None
    cipher = take().decode("utf-8").lower() if flags & CIPHER else ""
    at += 1 if flags & CHUNKED else 0
    before_tag = data[:at]
    tag = take() if flags & TAG else None
    return _Header(version, flags, iv, key, cipher, tag, before_tag), data[at:]


def _fixed(key: SecretKey) -> bytes:
    if key.iv is None:
        raise ValueError("the value contains no IV, and PRODUCTION_IV1 is not set")
    return key.iv


def _cbc(data: bytes, key: bytes, iv: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    padded = decryptor.update(data) + decryptor.finalize()
    unpadder = PKCS7(128).unpadder()
    return unpadder.update(padded) + unpadder.finalize()


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    plain = inflater.decompress(data, LARGEST_PLAINTEXT)
    if not inflater.eof:
        raise ValueError("the value is cut off, or too large")
    return plain
