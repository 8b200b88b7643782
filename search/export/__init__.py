"""The nodes of searches as one importable module: which of them, for which calls, and the module's text.

It lies in this layer because it reads searches and writes text; what the text does at run time, and whether it does it
rightly, is the evaluation's.
"""
