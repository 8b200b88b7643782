"""The judge: processes, data, comparison, timing."""
