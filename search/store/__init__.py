"""Where searches live."""

from kernelevolve.search.store.reading import Reader, StoredEvent
from kernelevolve.search.store.store import DuplicateError, Kept, Store

__all__ = ["DuplicateError", "Kept", "Reader", "Store", "StoredEvent"]
