"""Families of instructions with one checkable answer, made from a document; one file each."""
