"""Values that only a holder of a key can have written: an HMAC around any other codec."""

from __future__ import annotations

import hashlib
import hmac
from struct import Struct

from hutch.codecs.base import Pieces
from hutch.codecs.framing import SIGNED
from hutch.codecs.keys import ID_BYTES, Keyed
from hutch.codecs.wrapping import buffers_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from hutch.codecs.base import Codec, Data
    from hutch.codecs.keys import Keys

__all__ = ["DIGESTS", "HEADER", "LENGTH", "MIN_KEY_BYTES", "VERSION", "Signed"]

HEADER = Struct(f"<4sBBH{ID_BYTES}s")  # magic, version, digest, zero, id of the key
LENGTH = Struct("<Q")  # of the entry's key, in what is signed
VERSION = 1
MIN_KEY_BYTES = 16  # of 128 bits: what guessing cannot reach
DIGESTS = {  # as the frame has them
    "sha256": 1,
    "sha384": 2,
    "sha512": 3,
    "sha3_256": 4,
    "sha3_384": 5,
    "sha3_512": 6,
    "blake2b": 7,
    "blake2s": 8,
}
_NAMES = {code: name for name, code in DIGESTS.items()}
_SIGNATURE_BYTES = {name: hashlib.new(name).digest_size for name in DIGESTS}
_ID_LABEL = b"hutch: id of a signing key"


class Signed(Keyed):
    """Signs what another codec makes, and hands it back only to who reads the same entry with the same key.

    The signature covers the entry's key and its value, not the database and not the inner codec: give each shelf a key
    of its own, or a value signed for one is good for the same entry of another, where it may be read as a pickle and
    was none. Who can write the files can still delete an entry, or put back an older value of the same entry. Nothing
    is hidden: `Encrypted` does that, and signs as well.

    The inner codec sees no byte before its signature holds. So ``Signed(Pickle(), key)`` makes a shelf in a place
    where others write as safe as the key is.

    Args:
        inner: the codec of the values.
        keys: of 16 bytes or more, a str as UTF-8; several to change them: the first one signs, all of them verify.
            Or a function that returns them, which lets the codec be pickled. To make one: secrets.token_bytes(32). A
            password is a bad one: who has the file can try out passwords.
        digest: of the HMAC: sha256, sha384, sha512, sha3_256, sha3_384, sha3_512, blake2b or blake2s. Reading
            takes any of them.

    Raises:
        ValueError: no key, a short key, or a digest that is not one of these.

    >>> import secrets
    >>> from hutch.codecs import Json, Signed
    >>> codec = Signed(Json(), secrets.token_bytes(32))
    >>> data = bytes(codec.encode(b"price", 100))
    >>> codec.decode(b"price", data)
    100
    >>> codec.decode(b"fine", data)
    Traceback (most recent call last):
        ...
    hutch.errors.TamperedError: the signed value of key 'fine' is not what was signed for it: ...
    """

    name = "Signed"
    _magic = SIGNED
    _done = "signed"

    def __init__(self, inner: Codec, keys: Keys | Callable[[], Keys], digest: str = "sha256") -> None:
        if digest not in DIGESTS:
            raise ValueError(f"Signed takes no digest {digest!r}: take one of {', '.join(DIGESTS)}")
        super().__init__(inner, keys)
        self.digest = digest
        # Each is copied to sign or verify a value, and never changed: so threads share them.
        self._started = {key: hmac.new(key, digestmod=digest) for key in self._keys}
        self._by_id: dict[bytes, list[bytes]] = {}
        for key in self._started:
            self._by_id.setdefault(_key_id(key), []).append(key)
        self._header = HEADER.pack(SIGNED, VERSION, DIGESTS[digest], 0, _key_id(self._keys[0]))

    def _check_key(self, key: Any) -> bytes:
        if isinstance(key, str):
            try:
                key = key.encode()
            except UnicodeEncodeError:
                raise ValueError("a key of Signed that is a str must be valid Unicode") from None
        if not isinstance(key, bytes | bytearray | memoryview):
            raise TypeError(f"a key of Signed is bytes or str, not {type(key).__name__}")
        secret = bytes(key)
        if len(secret) < MIN_KEY_BYTES:
            raise ValueError(
                f"a key of Signed has {MIN_KEY_BYTES} bytes or more, not {len(secret)}: "
                "make one with secrets.token_bytes(32), and keep it"
            )
        return secret

    def _arguments(self) -> tuple[Any, ...]:
        return (self.digest,)

    def encode(self, key: bytes, value: Any) -> Pieces:
        """A header, the inner codec's bytes, and the signature of both and the entry's key."""
        buffers = buffers_of(self.inner.encode(key, value))
        return Pieces((self._header, *buffers, self._sign(self._keys[0], self.digest, self._header, key, buffers)))

    def _sign(self, secret: bytes, digest: str, header: bytes, key: bytes, buffers: Iterable[Data]) -> bytes:
        """Nothing else has the same bytes signed: header and length are of fixed size, and the value ends them."""
        made = self._started[secret].copy() if digest == self.digest else hmac.new(secret, digestmod=digest)
        made.update(header + LENGTH.pack(len(key)) + key)
        for buffer in buffers:
            made.update(buffer)
        return made.digest()

    def unwrap(self, key: bytes, data: Data) -> Data:
        """The inner codec's bytes, once their signature has been verified.

        Raises:
            TamperedError: the value was changed, cut off, moved from another entry, or signed with another key.
            WrongCodecError: it is not signed.
        """
        data = self._frame(key, data, HEADER.size)
        _, version, code, zero, key_id = HEADER.unpack_from(data)
        if version != VERSION or zero or code not in _NAMES:
            raise self._tampered(key, f"is of a hutch newer than this one (version {version}), or was tampered with")
        digest = _NAMES[code]
        end = len(data) - _SIGNATURE_BYTES[digest]
        if end < HEADER.size:
            raise self._tampered(key, "is cut off")
        secrets = self._by_id.get(key_id)
        if secrets is None:
            raise self._stranger(key)
        plain = memoryview(data)[HEADER.size : end]
        for secret in secrets:
            if hmac.compare_digest(self._sign(secret, digest, data[: HEADER.size], key, (plain,)), data[end:]):
                return plain
        raise self._tampered(key, "is not what was signed for it: it was changed, cut off, or moved from another entry")


def _key_id(key: bytes) -> bytes:
    """What tells which of several keys signed a value, and nothing else about it."""
    return hmac.digest(key, _ID_LABEL, "sha256")[:ID_BYTES]
