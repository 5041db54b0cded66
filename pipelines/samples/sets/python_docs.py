"""Python's documentation as web pages: technical prose with code, navigation and sidebars."""

from __future__ import annotations

from windtunnel.pipelines.samples.packages import Package
from windtunnel.pipelines.samples.pages import PageSet

PYTHON_DOC = Package("debian", "python3.11-doc", "", "", 12.6)


class PythonDocs(PageSet):
    """One document per page; the package also has the source text of each page, a reference for extraction."""

    name = "python_docs"
    about = "Python 3.11's documentation, HTML pages with navigation"
    licence = "PSF-2.0"
    text_megabytes = 9.01
    origin = "the Debian package python3.11-doc"
    packages = (PYTHON_DOC,)
    parts = 2
    package = PYTHON_DOC
    folder = "usr/share/doc/python3.11/html/"
    address = "https://docs.python.org/3.11/"
    language = "en"
    left_out = ("_static/", "genindex-", "search.html", "genindex.html", "genindex-all.html", "py-modindex.html")
