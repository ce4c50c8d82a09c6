"""Values that only a holder of a key can read, or can have written: AES-GCM around any other codec."""

from __future__ import annotations

import os
from struct import Struct

from hutch.codecs.base import Pieces, joined, missing_extra
from hutch.codecs.framing import ENCRYPTED
from hutch.codecs.keys import ID_BYTES, Keyed
from hutch.codecs.wrapping import buffers_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from hutch.codecs.base import Codec, Data
    from hutch.codecs.keys import Keys

__all__ = ["AES_GCM", "HEADER", "LENGTH", "NONCE_BYTES", "TAG_BYTES", "VERSION", "Encrypted"]

HEADER = Struct(f"<4sBBH{ID_BYTES}s")  # magic, version, cipher, zero, id of the key
LENGTH = Struct("<Q")  # of the entry's key, in what is authenticated
VERSION = 1
AES_GCM = 1
NONCE_BYTES = 12
TAG_BYTES = 16
_KEY_BYTES = (16, 24, 32)
_ID_LABEL = b"hutch: key id"  # 16 bytes at most
# AESGCM takes 2 GiB at most, in one piece: larger values go through the streaming cipher, in chunks.
_ONE_SHOT_BYTES = 64 << 20
_CHUNK_BYTES = 16 << 20


class Encrypted(Keyed):
    """Encrypts what another codec makes, and hands it back only to who reads the same entry with the same key.

    AES in Galois/counter mode with a random nonce for each write. The entry's key goes into the authentication, so
    a value that was changed or moved to another entry is refused, and the inner codec sees nothing of it. Not
    hidden are the keys of the shelf, how many entries there are, the size of each value (to the byte), and which
    entries change when. Who can write the files can still delete an entry, or put back an older value of
    the same entry. A value is bound to its entry, not to its database or inner codec: give each shelf a key of its own.

    With random nonces one key is good for 2**32 writes (that is when two nonces are equal with a chance of one in
    2**32, which would give away what the two values have in common, and the means to forge). Bring a new key before
    that: put it in front of the list, recode the shelf, drop the old one.

    From a password, derive the key with a salt that is stored beside the database and is no secret:
    ``hashlib.scrypt(password, salt=salt, n=2**15, r=8, p=1, maxmem=2**26, dklen=32)``.

    Args:
        inner: the codec of the values.
        keys: of 16, 24 or 32 bytes (AES-128, -192, -256); several to change them: the first one encrypts, all of
            them decrypt. Or a function that returns them, which lets the codec be pickled. To make one:
            Encrypted.new_key().

    Raises:
        ImportError: the package cryptography is missing: ``pip install 'hutch[crypto]'``.
        ValueError: no key, or one of another length.

    >>> from hutch.codecs import Encrypted, Json
    >>> codec = Encrypted(Json(), Encrypted.new_key())
    >>> data = bytes(codec.encode(b"pin", "0000"))
    >>> codec.decode(b"pin", data), b"0000" in data
    ('0000', False)
    """

    name = "Encrypted"
    _magic = ENCRYPTED
    _done = "encrypted"

    def __init__(self, inner: Codec, keys: Keys | Callable[[], Keys]) -> None:
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as problem:
            raise missing_extra("Encrypted", "cryptography", "crypto") from problem
        super().__init__(inner, keys)
        self._ciphers = {key: AESGCM(key) for key in self._keys}
        self._invalid: type[Exception] = InvalidTag
        self._by_id: dict[bytes, list[bytes]] = {}
        for key in self._ciphers:
            self._by_id.setdefault(_key_id(key), []).append(key)
        self._header = HEADER.pack(ENCRYPTED, VERSION, AES_GCM, 0, _key_id(self._keys[0]))

    @staticmethod
    def new_key(bits: int = 256) -> bytes:
        """A random key of 128, 192 or 256 bits. Keep it: without it the values are lost."""
        if bits not in (128, 192, 256):
            raise ValueError(f"a key of AES has 128, 192 or 256 bits, not {bits}")
        return os.urandom(bits // 8)

    def _check_key(self, key: Any) -> bytes:
        if isinstance(key, str):
            raise TypeError(
                "a key of Encrypted is bytes, not str: make one with Encrypted.new_key(), "
                "or derive one from a password with hashlib.scrypt"
            )
        if not isinstance(key, bytes | bytearray | memoryview):
            raise TypeError(f"a key of Encrypted is bytes, not {type(key).__name__}")
        secret = bytes(key)
        if len(secret) not in _KEY_BYTES:
            raise ValueError(
                f"a key of Encrypted has 16, 24 or 32 bytes, not {len(secret)}: make one with Encrypted.new_key()"
            )
        return secret

    def encode(self, key: bytes, value: Any) -> Pieces:
        """A header, a nonce, the inner codec's bytes in cipher, and what authenticates them and the entry's key."""
        plain = self.inner.encode(key, value)
        nonce = os.urandom(NONCE_BYTES)
        bound = _bound(self._header, key)
        secret = self._keys[0]
        if len(plain) <= _ONE_SHOT_BYTES:
            return Pieces((self._header, nonce, self._ciphers[secret].encrypt(nonce, joined(plain), bound)))
        return Pieces((self._header, nonce, *_encrypt_large(secret, nonce, plain, bound)))

    def unwrap(self, key: bytes, data: Data) -> Data:
        """The inner codec's bytes, once all of them have been authenticated.

        Raises:
            TamperedError: the value was changed, cut off, moved from another entry, or encrypted with another key.
            WrongCodecError: it is not encrypted.
        """
        data = self._frame(key, data, HEADER.size + NONCE_BYTES + TAG_BYTES)
        _, version, cipher, zero, key_id = HEADER.unpack_from(data)
        if version != VERSION or zero or cipher != AES_GCM:
            raise self._tampered(key, f"is of a hutch newer than this one (version {version}), or was tampered with")
        secrets = self._by_id.get(key_id)
        if secrets is None:
            raise self._stranger(key)
        nonce = data[HEADER.size : HEADER.size + NONCE_BYTES]
        sealed = memoryview(data)[HEADER.size + NONCE_BYTES :]
        bound = _bound(data[: HEADER.size], key)
        for secret in secrets:
            try:
                if len(sealed) <= _ONE_SHOT_BYTES:
                    return self._ciphers[secret].decrypt(nonce, sealed, bound)
                return _decrypt_large(secret, nonce, sealed, bound)
            except self._invalid:
                pass
        raise self._tampered(
            key, "is not what was encrypted for it: it was changed, cut off, or moved from another entry"
        )


def _bound(header: bytes, key: bytes) -> bytes:
    """What is authenticated with a value and not stored in it again."""
    return header + LENGTH.pack(len(key)) + key


def _key_id(key: bytes) -> bytes:
    """What tells which of several keys encrypted a value, and nothing else about it."""
    from hashlib import blake2b

    return blake2b(key=key, person=_ID_LABEL, digest_size=ID_BYTES).digest()


def _encrypt_large(secret: bytes, nonce: bytes, plain: bytes | Pieces, bound: bytes) -> list[bytes]:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    encryptor = Cipher(algorithms.AES(secret), modes.GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(bound)
    parts = []
    for buffer in buffers_of(plain):
        for start in range(0, len(buffer), _CHUNK_BYTES):
            parts.append(encryptor.update(memoryview(buffer)[start : start + _CHUNK_BYTES]))
    parts.append(encryptor.finalize())
    parts.append(encryptor.tag)
    return parts


def _decrypt_large(secret: bytes, nonce: bytes, sealed: memoryview, bound: bytes) -> memoryview:
    """The same as AESGCM.decrypt: what has been decrypted is let go of when the tag at its end does not fit."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    size = len(sealed) - TAG_BYTES
    decryptor = Cipher(algorithms.AES(secret), modes.GCM(nonce, bytes(sealed[size:]))).decryptor()
    decryptor.authenticate_additional_data(bound)
    plain = bytearray(size + TAG_BYTES)  # update_into wants room for one more block of the cipher
    view = memoryview(plain)
    done = 0
    for start in range(0, size, _CHUNK_BYTES):
        done += decryptor.update_into(sealed[start : min(start + _CHUNK_BYTES, size)], view[done:])
    decryptor.finalize()
    return view[:size].toreadonly()
