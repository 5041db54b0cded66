"""Layouts: the ways in which files of instructions and preferences write a row."""
