"""Checkable tasks: questions made from documents, each with one exact answer."""
