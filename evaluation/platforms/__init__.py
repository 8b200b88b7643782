"""Platforms, each a plug-in of the entry point group `kernelevolve.platforms`."""
