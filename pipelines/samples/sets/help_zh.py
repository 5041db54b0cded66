"""LibreOffice's help in Chinese as web pages: text without spaces between words, partly untranslated English."""

from __future__ import annotations

from windtunnel.pipelines.samples.packages import Package
from windtunnel.pipelines.samples.pages import PageSet

HELP_ZH = Package("debian", "libreoffice-help-zh-cn", "", "", 3.4)


class HelpZh(PageSet):
    """One document per page; some paragraphs are untranslated."""

    name = "help_zh"
    about = "LibreOffice's help, simplified Chinese with English remains, HTML pages"
    licence = "MPL-2.0"
    text_megabytes = 3.97
    origin = "the Debian package libreoffice-help-zh-cn"
    packages = (HELP_ZH,)
    package = HELP_ZH
    folder = "usr/share/libreoffice/help/zh-CN/text/"
    address = "https://help.libreoffice.org/latest/zh-CN/text/"
    language = "zh"
