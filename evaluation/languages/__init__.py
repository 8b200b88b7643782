"""Candidate languages, each a plug-in of the entry point group `kernelevolve.languages`."""
