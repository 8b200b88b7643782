"""The version of the project, kept in one place."""

VERSION = "0.1.0"
