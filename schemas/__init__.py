"""Shared types: records, artifacts, work, plug-ins, results and errors. Imports neither torch nor datatrove."""
