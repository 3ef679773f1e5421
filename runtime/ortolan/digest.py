"""SHA-256 for short texts on the road to a loaded model.

``hashlib`` loads OpenSSL, which costs a small process about 4 MB and some milliseconds; CPython's own implementation
(the one ``hashlib`` itself falls back to) costs nothing. OpenSSL is several times faster on large files: whoever hashes
those takes ``hashlib``.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _sha2 import sha256  # Python 3.12 and newer
    except ImportError:
        try:
            from _sha256 import sha256  # Python 3.10 and 3.11
        except ImportError:
            from hashlib import sha256  # a build of Python without its own

__all__ = ["sha256"]
