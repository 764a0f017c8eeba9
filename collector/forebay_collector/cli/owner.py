"""What root makes in the collector's folder is made as the folder's owner: what root left there, the service could not read."""

from __future__ import annotations

import os
from pathlib import Path

from forebay_collector.errors import DataFolderUnusable


def become(folder: Path) -> None:
    """Gives root's rights up for those of the folder's owner, for the rest of this process. Nothing happens for anybody else,
    where there is no such folder, and where root owns it. Raises DataFolderUnusable."""
    if os.geteuid() != 0 or not folder.exists():
        return
    found = folder.stat()
    if found.st_uid == 0:
        return
    import pwd

    try:
        name = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        raise DataFolderUnusable(f"{folder} belongs to user {found.st_uid}, whom this machine does not know") from None
    os.initgroups(name, found.st_gid)
    os.setgid(found.st_gid)
    os.setuid(found.st_uid)


def give_back(folder: Path, data: Path) -> None:
    """Gives a folder that root made, and what root made in it, to whom the data folder belongs to: the service could not read
    it else. Nothing happens for anybody else, where there is no such folder, and where root owns the data folder. What has a
    second name elsewhere is left as it is."""
    if os.geteuid() != 0 or not folder.exists():
        return
    owner = data.stat()
    if owner.st_uid == 0:
        return
    for place, _, files in os.walk(folder):
        for path in (Path(place), *(Path(place, name) for name in files)):
            found = path.lstat()
            if found.st_uid == 0 and (path == Path(place) or found.st_nlink == 1):
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
