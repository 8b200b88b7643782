"""Kernels that others wrote, with their PyTorch references: tables, and what turns an entry into a task."""
