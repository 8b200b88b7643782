"""The hardware knowledge base: documents, spec sheets as answers, retrieval, deep search, patterns with evidence."""
