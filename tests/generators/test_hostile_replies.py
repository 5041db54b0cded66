"""Everything that reads a model's reply takes linear time, whatever the reply repeats."""

from __future__ import annotations

import random
import time

import pytest

from windtunnel.generators.client.reasoning import split_reasoning
from windtunnel.generators.judges._spoken import grade, verdict
from windtunnel.generators.judging.ratings import json_object
from windtunnel.generators.kinds.lima import _LINK
from windtunnel.generators.kinds.sharegpt import ShareGPT
from windtunnel.generators.text.excerpts import passage, shortened
from windtunnel.generators.text.gold import agrees, final_answer, known_answer
from windtunnel.generators.text.instances import input_first, output_first
from windtunnel.generators.text.turns import disclaims, one_turn, role_flip, without_politeness
from windtunnel.pipelines.readers.encoding import decode_page

ASKED = {"role": "user", "content": "How many?"}
READERS = {
    "verdict": verdict,
    "grade": lambda reply: grade(reply, ["1", "2"]),
    "split_reasoning": split_reasoning,
    "json_object": json_object,
    "links": _LINK.search,
    "sharegpt": lambda reply: ShareGPT().clean([ASKED, {"role": "assistant", "content": reply}]),
    "passage": lambda reply: passage(reply, 500, random.Random(0)),
    "shortened": lambda reply: shortened(reply, 500),
    "final_answer": final_answer,
    "known_answer": known_answer,
    "agrees": lambda reply: agrees(reply, "12 apples"),
    "input_first": lambda reply: input_first(reply, truncated=False),
    "output_first": lambda reply: output_first(reply, truncated=False),
    "disclaims": disclaims,
    "one_turn": one_turn,
    "role_flip": lambda reply: role_flip(reply, [ASKED]),
    "without_politeness": without_politeness,
    "decode_page": lambda reply: decode_page(reply.encode()),
}
PIECES = [
    "A ", "Verdict: ", "the answer ", "not ", "I would choose ", "final overall ", "is much ", "both ", "AI: ", "a",
    '"', "“", "{", "[", "**", "[[A", '{"a":', "\n>", "_", "1", "1,", "1.", "#### ", " 1 / 2\n", "*\n", "\n", " \n ",
    "\x85", " ",
]  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_a_long_reply_is_read_in_linear_time(name):
    for piece in PIECES:
        start = time.process_time()
        READERS[name]('{"a":' + piece * (60_000 // len(piece)) + "}")
        assert time.process_time() - start < 3, repr(piece)
