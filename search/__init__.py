"""The search engine: which candidate to write next, and what is remembered of those before."""
