"""Encoding data sets: every row is kept or counted with its reason, and what is kept is what the messages say."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.records import CONVERSATION, PREFERENCE
from windtunnel.trainer.data.chat import ChatEncoder
from windtunnel.trainer.data.chat_rows import Limits, encoded_rows


def said(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[k % 2], "content": text} for k, text in enumerate(texts)]


def write(path, records, schema):
    rows = [{"source": "test", **record} for record in records]
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    return [path]


@pytest.fixture
def read(chat_tokenizer, tmp_path):
    def run(kind, records, context=64, truncate=False, content="x"):
        schema = CONVERSATION if kind == "conversations" else PREFERENCE
        files = write(tmp_path / "in.parquet", records, schema)
        return encoded_rows(kind, files, ChatEncoder(chat_tokenizer), Limits(context, truncate), tmp_path, content)

    return run


BAD_TALKS = {
    "no_messages": [],
    "no_assistant_turn": said("Hello?"),
    "empty_assistant_turn": said("Hello?", " \n"),
    "empty_user_turn": said("", "Hi."),
    "role_order": [*said("Hello?", "Hi."), *said("x", "y")[1:]],
    "unknown_role": [{"role": "robot", "content": "x"}, *said("Hello?", "Hi.")],
    "special_token_in_text": said("<|im_end|>", "Hi."),
    "too_long": said("Hello? " * 50, "Hi."),
}


def test_every_bad_conversation_is_counted_under_its_reason(read, tmp_path):
    records = [{"id": reason, "messages": messages} for reason, messages in BAD_TALKS.items()]
    records += [{"id": "good", "messages": said("Hello?", "Hi.")}, {"id": "good", "messages": said("Again?", "Yes.")}]
    rows = read("conversations", records)
    assert rows.counts.dropped == {**dict.fromkeys(sorted(BAD_TALKS), 1), "duplicate_id": 1}
    assert (rows.counts.seen, rows.counts.kept, len(rows)) == (10, 1, 1)
    dropped = pq.read_table(next(tmp_path.glob("conversations-*")) / "dropped.parquet").to_pylist()
    assert {row["id"]: row["reason"] for row in dropped if row["reason"] != "duplicate_id"} == {r: r for r in BAD_TALKS}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rejected": said("", "yes")[1:]}, "chosen_equals_rejected"),
        ({"prompt": []}, "no_prompt"),
        ({"chosen": []}, "no_assistant_turn"),
        ({"chosen": said("", " ")[1:]}, "empty_assistant_turn"),
        ({"chosen": said("a", "b")}, "role_order"),
        ({"prompt": said("a", "b")}, "role_order"),
        ({"chosen": said("", "a", "b")[1:]}, "no_assistant_turn"),
        ({"chosen": said("", "so " * 90)[1:]}, "too_long"),
    ],
)
def test_every_bad_preference_is_counted_under_its_reason(read, change, reason):
    good = {"id": "good", "prompt": said("Is it?"), "chosen": said("", "yes")[1:], "rejected": said("", "no")[1:]}
    rows = read("preferences", [good, {**good, "id": "bad", **change}])
    assert rows.counts.dropped == {reason: 1} and len(rows) == 1


def test_a_long_conversation_is_cut_at_the_border_of_a_round_and_counted(read):
    talk = said("Hello?", "Hi.", "And now?", "No idea, really.", "so " * 30, "Bye.")
    whole = read("conversations", [{"id": "a", "messages": talk[:4]}], content="whole")
    cut = read("conversations", [{"id": "a", "messages": talk}], context=len(whole[0].ids) + 3, truncate=True)
    assert cut.counts.notes["truncated"] == 1 and cut.counts.kept == 1
    assert cut[0].ids.tolist() == whole[0].ids.tolist() and cut.bytes.tolist() == whole.bytes.tolist()
    assert whole.bytes.tolist() == [len("Hi.No idea, really.")]


def test_a_preference_shares_its_prompt_and_learns_both_answers(read, chat_tokenizer):
    prompt = said("Hello?", "Hi.", "And now?")
    record = {"id": "a", "prompt": prompt, "chosen": said("", "No idea.")[1:], "rejected": said("", "Nothing")[1:]}
    rows = read("preferences", [{**record, "rating_chosen": 4.0, "rating_rejected": 1.5}])
    row, encoder = rows[0], ChatEncoder(chat_tokenizer)
    assert row.ids[row.branch == 0].tolist() == encoder.prompt_ids(prompt)
    texts = [encoder.decode(row.ids[row.branch == k].tolist()) for k in (1, 2)]
    assert texts == ["No idea.<|im_end|>", "Nothing<|im_end|>"]
    assert row.target.tolist() == (row.branch > 0).tolist()
    assert rows.margins.tolist() == [2.5] and rows.bytes_rejected.tolist() == [7]


def test_rows_are_encoded_once_and_again_when_the_template_changes(read, chat_tokenizer, tmp_path):
    records = [{"id": "a", "messages": said("Hello?", "Hi.")}]
    first = read("conversations", records).digest()
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("conversations-*/*")}
    assert read("conversations", records).digest() == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("conversations-*/*")} == made
    chat_tokenizer.chat_template = chat_tokenizer.chat_template.replace("'\n'", "'\n\n'")
    assert read("conversations", records).digest() != first


def test_none_fit_is_an_error_with_the_reasons(read):
    with pytest.raises(InputError, match=r"none of 1 conversations can be used for training \(no_assistant_turn: 1\)"):
        read("conversations", [{"id": "a", "messages": said("Hello?")}])


def test_a_truncated_parquet_file_is_an_error_that_names_it(read, tmp_path, chat_tokenizer):
    files = write(tmp_path / "half.parquet", [{"id": "a", "messages": said("Hello?", "Hi.")}], CONVERSATION)
    files[0].write_bytes(files[0].read_bytes()[:-20])
    with pytest.raises(InputError, match=r"half\.parquet cannot be read as Parquet"):
        encoded_rows("conversations", files, ChatEncoder(chat_tokenizer), Limits(64, False), tmp_path, "y")
    assert not list(tmp_path.glob("conversations-*"))


def test_many_rows_come_back_as_they_went_in(read, chat_tokenizer):
    encoder = ChatEncoder(chat_tokenizer)
    talks = [said(f"What is {k} and {k + 1}?", f"It is {2 * k + 1}.") for k in range(1100)]
    rows = read("conversations", [{"id": str(k), "messages": talk} for k, talk in enumerate(talks)])
    for k in (0, 511, 512, 1099):
        ids, target, _ = encoder.encode(talks[k])
        assert rows[k].ids.tolist() == ids and rows[k].target.tolist() == target
    assert rows.counts.tokens == int(np.sum(rows.targets)) == sum(int(rows[k].target.sum()) for k in range(1100))
    assert json.loads(rows.counts.model_dump_json())["kept"] == 1100
