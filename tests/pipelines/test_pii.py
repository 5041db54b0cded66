"""Personal data: e-mail and IP addresses beside datatrove's PIIFormatter, and the kinds that it does not know."""

import random
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.pipelines.filters._chain import chain, judge
from windtunnel.pipelines.filters._stages import stages
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import RecipeError

HEX = "9f86d081884c7d659a2feaa0c55ad015"
BASE64 = "wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY"
BLOCK = "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----"
LINE = "MIIEowIBAAKCAQEA7bq0cP9VYc2m6w0o1k3S5u7x"


def _edited(texts: list[str], **params: Any) -> tuple[list[str], dict[str, int]]:
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    judged = judge(batch, chain([{"pii": params}]))
    return judged.batch.column("text").to_pylist(), judged.edits


def _one(text: str, **params: Any) -> str:
    return _edited([text], **params)[0][0]


def test_a_list_that_only_rewrites_drops_nothing_in_memory_and_as_steps(tmp_path: Path) -> None:
    texts = ["write to ada@lovelace.org", "nothing here", "8.8.4.4"]
    batch = pa.record_batch({"id": ["a", "b", "c"], "text": pa.array(texts, pa.large_string())})
    judged = judge(batch, chain(["pii"]))
    assert judged.reasons.to_list() == [None] * 3 and sum(judged.edits.values()) == 2
    measure, decide, _edit = (stage.work for stage in stages(["pii"]))
    (tmp_path / "in" / "documents").mkdir(parents=True)
    pq.write_table(pa.Table.from_batches([batch]), tmp_path / "in" / "documents" / "00000.parquet")
    measure.run({"documents": Artifact(tmp_path / "in")}, tmp_path / "measured", 0)
    counts = decide.run({"measures": Artifact(tmp_path / "measured")}, tmp_path / "decided", 0)
    assert (counts.seen, counts.kept, counts.dropped) == (3, 3, {})


def _theirs(text: str) -> str:
    from datatrove.pipeline.formatters import PIIFormatter

    return PIIFormatter().format(text)  # a new one a text: theirs goes on with the turn of the document before


def test_addresses_go_as_in_datatrove() -> None:
    parts = [
        "ada@lovelace.org", "a.b+c@x-y.co.uk", "_ada_@x.org", "o'neil@x.org", "a@b", "a@@b.org", "a@b..org", "@x.org",
        "ada@[192.0.2.1]", "8.8.4.4", "8.8.8.8", "192.168.0.1", "10.0.0.1", "127.0.0.1", "008.8.8.8",
        "1.2.3", "2.5", "100.64.0.1", "word", "Wörter", "x", "12:30:45", "std::string", "a::b",
    ]  # fmt: skip
    marks = [
        " ",
        "\n",
        ", ",
        ". ",
        "; ",
        " '",
        '"',
        " `",
        " *",
        "(",
        ")",
        "<",
        ">",
        " {",
        "} ",
        "[",
        "]",
        " | ",
        "? ",
        " / ",
    ]
    draw = random.Random(2)
    texts = ["".join(draw.choice(marks) + draw.choice(parts) for _ in range(draw.randrange(7))) for _ in range(3000)]
    ours, edits = _edited(texts, kinds=["emails", "ips"])
    theirs = [_theirs(text) for text in texts]
    assert [(text, a, b) for text, a, b in zip(texts, ours, theirs, strict=True) if a != b] == []
    assert edits["pii.emails"] > 1000 and edits["pii.ips"] > 500


@pytest.mark.parametrize(
    ("text", "ours", "theirs", "why"),
    [
        ("1.2.3.4.5", "1.2.3.4.5", "22.214.171.124.5", "five numbers are a version, not an address"),
        ("1234.5.6.7", "1234.5.6.7", "122.214.171.124", "an address does not begin within a number"),
        ("256.1.1.1", "256.1.1.1", "222.214.171.124", "256 is no part of an address"),
        (
            "x@a.org`y@b.org",
            "email@example.com`firstname.lastname@example.org",
            "email@example.comfirstname.lastname@example.org",
            "quotes stay",
        ),
        ("éfoo@bar.com", "éemail@example.com", "éfoo@bar.com", "a letter with an accent hides no mailbox"),
        ("to 2001:4860:4860::8888.", "to 2001:db8::1.", "to 2001:4860:4860::8888.", "IPv6 is looked for"),
    ],
)
def test_where_datatrove_differs(text: str, ours: str, theirs: str, why: str) -> None:
    assert (_one(text), _theirs(text)) == (ours, theirs), why


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Call +1 (415) 555-2671.", "Call +1 555 0100."),
        ("Call 415-555-2671 or +4915112345678", "Call +1 555 0100 or +1 555 0100"),
        ("4111-1111-1111-1111 3782 822463 10005", "0000 0000 0000 0000 0000 0000 0000 0000"),
        (f"AWS_SECRET_ACCESS_KEY={BASE64}", "AWS_SECRET_ACCESS_KEY=[key]"),
        (f'"api_key": "{HEX}"', '"api_key": "[key]"'),
        (f"Authorization: Bearer {HEX}", "Authorization: Bearer [key]"),
        ("id AKIA" + "IOSFODNN7EXAMPLE.", "id [key]."),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N", "[key]"),
        (f"a {BLOCK.format(LINE)} b", "a [key] b"),
        (f"-----BEGIN PRIVATE KEY-----\n{LINE}\n{LINE}\nAnd so on.", "[key]\nAnd so on."),
    ],
)
def test_what_is_replaced(text: str, expected: str) -> None:
    assert _one(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",  # wrong check digit
        "pi is 3.14159265358979323846",
        "ISBN 978-3-16-148410-0, 1990-2000, 2021-03-04 12:00",
        "100 200 300 400 500",
        f"commit {HEX}",  # no name of a key before it
        f"x{'4111111111111111'}x",
        "token = a_long_name_of_something_that_is_no_secret_at_all",
        "-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD9\n-----END PUBLIC KEY-----",
        "use a::b and Cafe::Bad; fe80::1; 2b:3c:4d:5e:6f:70:81:92",
    ],
)
def test_what_is_left_alone(text: str) -> None:
    assert _one(text) == text


def test_stand_ins_and_kinds_are_a_choice() -> None:
    text = "ada@x.org bob@x.org 8.8.8.8 192.168.0.1 2001:4860::1"
    assert (
        _one(text, stand_ins={"emails": "<mail>"}, kinds=["emails"]) == "<mail> <mail> 8.8.8.8 192.168.0.1 2001:4860::1"
    )
    assert _one(text, stand_ins={"ips": ["A", "B"]}, public_ips=False, kinds=["ips"]) == "ada@x.org bob@x.org A B A"
    with pytest.raises(RecipeError, match="stand_ins"):
        chain([{"pii": {"stand_ins": {"mails": "x"}}}])


def test_counts_are_columns_and_notes() -> None:
    batch = pa.record_batch({"text": pa.array(["ada@x.org", None, "bob@x.org or 8.8.8.8"], pa.large_string())})
    judged = judge(batch, chain([{"pii": {"action": "drop", "max_found": 1, "kinds": ["emails", "ips"]}}]))
    assert judged.why.select("pii_emails", "pii_ips").rows() == [(1, 0), (0, 0), (1, 1)]
    assert judged.reasons.to_list() == [None, None, None]
    assert _edited(["ada@x.org", "nothing", "bob@x.org or 8.8.8.8"])[1] == {"pii.emails": 2, "pii.ips": 1}


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "a.",
        "!",
        "1",
        "1 ",
        "a:",
        ":",
        "+1 22 ",
        "eyJaaaaaaaa.",
        "-----BEGIN PRIVATE KEY-----",
        "1.1.1.",
        "a@",
        "key=",
    ],
)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    def seconds(size: int) -> float:
        text = unit * (size // len(unit)) + "@ 1.1.1.1 token= eyJ +1 11111 ::"
        start = time.process_time()
        _edited([text])
        return time.process_time() - start

    seconds(1000)
    small, big = (min(seconds(size) for _ in range(2)) for size in (25_000, 200_000))
    assert big < 24 * small + 0.05, "eight times the text, not sixty-four times the time"
