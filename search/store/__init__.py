"""Where searches live."""

from kernelevolve.search.store.overview import Overview
from kernelevolve.search.store.reading import Reader, StoredEvent
from kernelevolve.search.store.store import DuplicateError, Kept, Store

__all__ = ["DuplicateError", "Kept", "Overview", "Reader", "Store", "StoredEvent"]
