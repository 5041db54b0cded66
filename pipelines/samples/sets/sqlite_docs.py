"""SQLite's documentation as web pages: hand-written HTML with menus, tables and diagrams."""

from __future__ import annotations

from windtunnel.pipelines.samples.packages import Package
from windtunnel.pipelines.samples.pages import PageSet

SQLITE_DOC = Package("debian", "sqlite3-doc", "", "", 7.5)


class SqliteDocs(PageSet):
    """One document per page."""

    name = "sqlite_docs"
    about = "SQLite's documentation, hand-written HTML pages"
    licence = "public domain for the most part"
    text_megabytes = 5.66
    origin = "the Debian package sqlite3-doc"
    packages = (SQLITE_DOC,)
    package = SQLITE_DOC
    folder = "usr/share/doc/sqlite3/"
    address = "https://www.sqlite.org/"
    language = "en"
