"""Dialogue: short conversations and questions with answers on everyday topics, in 28 languages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from windtunnel.pipelines.readers.batches import Row, Unreadable
from windtunnel.pipelines.samples.packages import Package
from windtunnel.pipelines.samples.sample_set import SampleSet

CHATTERBOT = Package(
    "pypi", "chatterbot-corpus", "1.3.3", "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154", 0.3
)
LANGUAGES = {
    "bengali": "bn", "chinese": "zh", "dutch": "nl", "english": "en", "french": "fr", "german": "de", "hebrew": "he",
    "hindi": "hi", "hinglish": "hi", "indonesian": "id", "italian": "it", "japanese": "ja", "korean": "ko",
    "marathi": "mr", "oriya": "or", "persian": "fa", "portuguese": "pt", "russian": "ru", "spanish": "es",
    "swedish": "sv", "tamil": "ta", "telugu": "te", "thai": "th", "traditionalchinese": "zh", "turkish": "tr",
    "ukrainian": "uk", "urdu": "ur", "yoruba": "yo",
}  # fmt: skip
DOCUMENT_CHARACTERS = 2000


class Dialogue(SampleSet):
    """Conversations of one topic, concatenated to about 2,000 characters per document.

    A conversation has two lines on average, too few for a document. Each line is a turn; a blank line separates
    conversations.
    """

    name = "dialogue"
    about = "everyday questions and answers, small talk; 28 languages"
    licence = "BSD-3-Clause"
    text_megabytes = 0.95
    origin = "conversations in the Python package chatterbot-corpus"
    packages = (CHATTERBOT,)

    def members(self) -> list[tuple[str, int]]:
        return [(name, size) for name, size in CHATTERBOT.members() if name.endswith(".yml")]

    def rows(self, member: str) -> Iterator[Row | Unreadable]:
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # of libyaml, if available
        folder, file = member.split("/")[-2:]
        try:
            conversations = yaml.load(CHATTERBOT.read(member), loader)["conversations"]
        except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
            yield Unreadable(self.name, member, "invalid_yaml", str(error)[:200])
            return
        meta = {"language": folder, "topic": file.removesuffix(".yml")}
        texts: list[str] = []
        for number, conversation in enumerate(conversations):
            text = turns(conversation)
            if not text:
                yield Unreadable(self.name, f"{member}:{number}", "not_a_conversation")
                continue
            texts.append(text)
            if sum(map(len, texts)) >= DOCUMENT_CHARACTERS:
                yield Row("\n\n".join(texts), self.name, lang=LANGUAGES.get(folder), meta=meta)
                texts = []
        if texts:
            yield Row("\n\n".join(texts), self.name, lang=LANGUAGES.get(folder), meta=meta)


def turns(conversation: Any) -> str:
    """Return the turns of a conversation, one per line; a string is a conversation of one turn."""
    lines = [conversation] if isinstance(conversation, str) else conversation
    if not isinstance(lines, list):
        return ""
    return "\n".join(" ".join(str(line).split()) for line in lines if line is not None)
