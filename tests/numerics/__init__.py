"""Planted numerical faults, and honest kernels that compute otherwise than the reference."""
