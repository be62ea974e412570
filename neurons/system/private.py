"""Files and folders for this user alone: private from the first byte, and never opened through somebody else's link.

A file is made with its mode, so that no umask is needed, and judged by its open descriptor, so that nobody can exchange
it in between.
"""

import errno
import os
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bettensor.neurons.system.files import PRIVATE

_FOLDER: Final = 0o700
_ABOVE: Final = 0o755
_OTHERS: Final = 0o077
"""The permissions of all other users."""
_OTHERS_WRITE: Final = 0o022


class _Told(OSError):
    """Its text is the path and the fault with its cure, without the number of the error."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


class NotPrivate(_Told, PermissionError):
    """A file or folder is not this user's alone; the message has its path and the cure."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(errno.EPERM, fault, str(path))


class DeadLink(_Told, FileExistsError):
    """A link is in the place of a folder, and leads to none; the message has its path and the cure."""

    def __init__(self, link: Path, fault: str) -> None:
        super().__init__(errno.EEXIST, fault, str(link))


def open_private(file: Path, flags: int = os.O_RDWR) -> int:
    """Open ``file``, which is made if it does not exist; if other users may read it, they may not from now on.

    Args:
        file: the file.
        flags: of ``os.open``, besides those for the above. Do not truncate: the file may be refused.

    Raises:
        NotPrivate: it is a link or no regular file, or belongs to another user.
        OSError: it cannot be opened.
    """
    try:
        opened = os.open(file, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, PRIVATE)
    except OSError:
        refuse_foreign(file)
        raise
    with ExitStack() as unless_ours:
        unless_ours.callback(os.close, opened)
        status = os.fstat(opened)
        _judge(file, status)
        if status.st_mode & _OTHERS:
            os.fchmod(opened, PRIVATE)
        unless_ours.pop_all()
    return opened


def create_private(file: Path) -> int:
    """Open a new file for writing, in the place of a former one.

    Raises:
        NotPrivate: the former one is a link or no regular file, or belongs to another user.
        OSError: it cannot be made.
    """
    refuse_foreign(file)
    file.unlink(missing_ok=True)  # instead of writing into it: it may have other names
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)


def refuse_foreign(file: Path) -> None:
    """Refuse a file that exists, and is not a regular file of this user.

    Raises:
        NotPrivate: it is a link or no regular file, or belongs to another user.
        OSError: it cannot be looked at.
    """
    try:
        status = file.lstat()
    except FileNotFoundError:
        return
    _judge(file, status)


def tighten(file: Path) -> bool:
    """Take the permissions of other users from ``file``; whether there were any. A link is left alone.

    Raises:
        NotPrivate: it is no regular file, or belongs to another user.
        OSError: it cannot be changed.
    """
    status = file.lstat()
    if stat.S_ISLNK(status.st_mode) or not status.st_mode & _OTHERS:
        return False
    os.close(open_private(file, os.O_RDONLY))
    return True


def own_folder(folder: Path) -> int | None:
    """Make ``folder``, with those above it, if it does not exist; otherwise make it this user's alone.

    A link leads to the folder that is judged. A folder that others may read, but not write to, stays as it is: the
    files in it are private.

    Returns:
        The former permissions of a folder to which others could write; None if they could not.

    Raises:
        NotPrivate: it belongs to another user, or its file system keeps no permissions.
        DeadLink: it, or a folder above it, is a link that leads to no folder.
        OSError: it is no folder, or cannot be made.
    """
    for above in reversed([above for above in folder.parents if not above.exists()]):
        _make(above, _ABOVE)  # those to which all may write could have the folder exchanged
    _make(folder, _FOLDER)
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        status = os.fstat(opened)
        if status.st_uid != os.geteuid():
            cure = "give it to this user with chown, or set another folder"
            raise NotPrivate(folder, f"it belongs to another user (UID {status.st_uid}); {cure}")
        former = stat.S_IMODE(status.st_mode)
        if not former & _OTHERS_WRITE:
            return None
        os.fchmod(opened, _FOLDER)
        if os.fstat(opened).st_mode & _OTHERS_WRITE:
            raise NotPrivate(folder, "all users may write to it, and its file system does not let that be changed")
        return former
    finally:
        os.close(opened)


def _make(folder: Path, mode: int) -> None:
    try:
        folder.mkdir(mode=mode, exist_ok=True)
    except FileExistsError:
        _refuse_dead_link(folder)
        raise


def _refuse_dead_link(link: Path) -> None:
    try:
        link.stat()
    except FileNotFoundError:
        cure = "make that folder, or set another one"
        raise DeadLink(link, f"it is a symbolic link to a folder that does not exist; {cure}") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            cure = "delete the link, or set another folder"
            raise DeadLink(link, f"its symbolic links form a circle; {cure}") from None


def _judge(file: Path, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise NotPrivate(file, "it is a symbolic link; delete it, or put the file itself here")
    if not stat.S_ISREG(status.st_mode):
        raise NotPrivate(file, "it is no regular file; move it away")
    if status.st_uid != os.geteuid():
        raise NotPrivate(file, f"it belongs to another user (UID {status.st_uid}); give it to this user with chown")
