"""The archive: the collector's store of sealed batches, byte for byte as received.

`contract.py` says what an archive owes; `local.py` keeps batches as files in a directory; `file.py` is their format.
"""

from forebay_collector.archive.contract import Archive
from forebay_collector.archive.local import LocalArchive

__all__ = ["Archive", "LocalArchive"]
