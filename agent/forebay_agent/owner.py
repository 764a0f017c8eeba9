"""What root does in the agent's state folder is done as the folder's owner: a file that root left there, the agent could
not read."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from forebay_agent.errors import AgentError, StateFolderUnusable


def become(state: Path) -> None:
    """Gives root's rights up for those of the state folder's owner, for the rest of this process. Nothing happens for anybody
    else, where there is no such folder, and where root owns it. Raises StateFolderUnusable."""
    if os.geteuid() != 0:
        return
    try:
        found = state.stat()
    except OSError:
        return
    if found.st_uid == 0:
        return
    import pwd

    try:
        name = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        raise StateFolderUnusable(f"{state} belongs to user {found.st_uid}, whom this machine does not know") from None
    os.initgroups(name, found.st_gid)
    os.setgid(found.st_gid)
    os.setuid(found.st_uid)
    os.environ["HOME"] = str(state)


def as_owner(state: Path, deed: Callable[[], None], describe: Callable[[AgentError], int]) -> int:
    """Does a deed as the state folder's owner: for root in a process of its own, while this one stays root.

    describe: says an AgentError of the deed, in that process. -> 0, or what `describe` gave.
    """
    if os.geteuid() != 0 or not state.exists() or state.stat().st_uid == 0:
        try:
            deed()
        except AgentError as error:
            return describe(error)
        return 0
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        become(state)
        deed()
        code = 0
    except AgentError as error:
        code = describe(error)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
