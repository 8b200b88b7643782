"""Explain a candidate: what its machine code, its timeline and its counters say, in one report with one diagnosis."""
