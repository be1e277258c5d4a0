"""Reasons why the operating system refuses a file, each with what to do about it."""

from __future__ import annotations

import errno

_PERMISSIONS = "check the permissions of the file and of its folder"
_DESCRIPTORS = "close some files, or raise the limit, such as with 'ulimit -n 4096'"
_ADVICE = {
    errno.ENOENT: "check the path",
    errno.EACCES: _PERMISSIONS,
    errno.EPERM: _PERMISSIONS,
    errno.EROFS: "choose a folder on a file system that can be written",
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "delete files of yours, or choose a folder outside the quota",
    errno.ENAMETOOLONG: "choose a shorter name or path",
    errno.EISDIR: "name a file, not a folder",
    errno.ENOTDIR: "a part of the path is a file where a folder is needed; choose another path",
    errno.EEXIST: "a file is in the way of a folder; choose another path",
    errno.ELOOP: "its symbolic links lead in a circle; name the file itself",
    errno.EMFILE: _DESCRIPTORS,
    errno.ENFILE: _DESCRIPTORS,
    errno.EIO: "check the disk or the network it is on",
    errno.ESTALE: "check the network file system it is on, and try again",
}


def reason(error: OSError) -> str:
    """Return why a file cannot be read or written and what to do, to follow ``cannot read PATH:``.

    Example:
        >>> reason(OSError(errno.ENOSPC, "No space left on device"))
        'No space left on device; free some space or choose another folder'
    """
    advice = None if error.errno is None else _ADVICE.get(error.errno)
    said = error.strerror or str(error) or type(error).__name__
    return f"{said}; {'check the path' if advice is None else advice}"
