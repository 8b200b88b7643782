"""Where searches live."""

from kernelevolve.search.store.overview import Overview
from kernelevolve.search.store.reading import Reader
from kernelevolve.search.store.store import Kept, Store

__all__ = ["Kept", "Overview", "Reader", "Store"]
