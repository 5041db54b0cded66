"""Parts in users' files and of installed packages: what is refused and how it is said, and what makes a new key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from windtunnel.generators.judges._judge import Judge, make_judge
from windtunnel.pipelines.dedup._dedup import Dedup
from windtunnel.pipelines.filters._rule import Rule, rules_of
from windtunnel.pipelines.recipe.file import read
from windtunnel.schemas import plugin, plugin_files
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.plugin import find, make

RULE = """
from windtunnel.pipelines.filters._rule import Rule

class MyRule(Rule):
    limit: int = 1
    primary = "limit"
    def reasons(self):
        return []
"""


@pytest.fixture
def folder(tmp_path: Path):
    """Return a recipe's directory, open while the test runs."""
    (tmp_path / "recipe").mkdir()
    with plugin_files.relative_to(tmp_path / "recipe"):
        yield tmp_path / "recipe"


def write(path: Path, text: str = RULE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_class_is_found_by_its_file_and_called_by_its_name(folder: Path) -> None:
    write(folder / "parts" / "mine.py")
    cls = find(Rule, "./parts/mine.py:MyRule")
    assert plugin.reference(cls) == "./parts/mine.py:MyRule" and plugin.label(cls) == "my_rule"
    assert find(Rule, "parts/mine.py") is cls and find(Rule, "./parts/../parts/mine.py:MyRule") is cls
    rule = make(Rule, {"./parts/mine.py:MyRule": 3})
    assert plugin.full_spec(rule) == {"./parts/mine.py:MyRule": {"limit": 3}}
    assert make(Rule, plugin.full_spec(rule)) == rule


@pytest.mark.parametrize("name", ["../outside.py:MyRule", "./parts/../../outside.py", "./link.py:MyRule", "./way/o.py"])
def test_a_path_does_not_leave_the_recipes_directory(folder: Path, name: str) -> None:
    write(folder.parent / "outside.py")
    write(folder.parent / "way" / "o.py")
    (folder / "link.py").symlink_to(folder.parent / "outside.py")
    (folder / "way").symlink_to(folder.parent / "way")
    with pytest.raises(RecipeError, match=rf"must lie in the recipe's directory \({folder}\) or below it"):
        find(Rule, name)


def test_an_absolute_path_is_refused_even_within_the_directory(folder: Path) -> None:
    file = write(folder / "mine.py")
    with pytest.raises(RecipeError, match="must lie in the recipe's directory"):
        find(Rule, f"{file}:MyRule")


def test_without_a_recipe_it_is_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "mine.py")
    monkeypatch.chdir(tmp_path)
    assert find(Rule, "./mine.py:MyRule").__name__ == "MyRule"
    with pytest.raises(RecipeError, match="must lie in the working directory"):
        find(Rule, "../mine.py:MyRule")


TWO = RULE + "\nclass Another(Rule):\n    pass\n"
HELPERS = RULE + "\nclass _Shared(Rule):\n    pass\n\nclass Plain:\n    pass\n"


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (RULE, "./mien.py:MyRule", r"there is no file ./mien.py in .*: did you mean 'mine.py'"),
        (TWO, "./mine.py", "it defines 2: Another, MyRule; name one as FILE.py:CLASS"),
        ("x = 1\n", "./mine.py", "must define one public plug-in class, it defines none"),
        ("from windtunnel.pipelines.filters.length import Length\n", "./mine.py", "it defines none"),
        (RULE, "./mine.py:MyRul", "the file defines no plug-in class 'MyRul': did you mean 'MyRule'"),
        ("x = (\n", "./mine.py:MyRule", r"rule './mine.py:MyRule' cannot be loaded: line 1: SyntaxError"),
        ("\n\nimport polarz\n", "./mine.py:MyRule", "line 3: ModuleNotFoundError: No module named 'polarz'"),
        ("\n1 / 0\n", "./mine.py:MyRule", "line 2: ZeroDivisionError"),
        ("raise SystemExit(3)\n", "./mine.py:MyRule", "line 1: SystemExit: 3"),
        ("x = 1\0\n", "./mine.py:MyRule", r"cannot be loaded: (?!line None).*null bytes"),
        (RULE.replace("MyRule", "Mÿ"), "./mine.py:Mÿ", "must consist of at most 64 ASCII letters, digits and '_'"),
        (RULE.replace("MyRule", "GopherQuality"), "./mine.py", "'gopher_quality', and there is a rule of that name"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_do_is_named_with_the_reason(folder: Path, text: str, name: str, message: str) -> None:
    write(folder / "mine.py", text)
    with pytest.raises(RecipeError, match=message):
        find(Rule, name)


def test_a_file_that_is_not_utf8_is_named(folder: Path) -> None:
    (folder / "mine.py").write_bytes(b"x = '\xff'\n")
    with pytest.raises(RecipeError, match=r"rule './mine.py:MyRule' cannot be loaded: (?!line None).*utf-8"):
        find(Rule, "./mine.py:MyRule")


def test_private_and_plain_classes_beside_a_part_are_no_matter(folder: Path) -> None:
    write(folder / "mine.py", HELPERS)
    assert find(Rule, "./mine.py").__name__ == "MyRule"


def test_a_class_of_another_kind_is_refused(folder: Path) -> None:
    write(folder / "mine.py")
    with pytest.raises(RecipeError, match=r"dedup './mine.py:MyRule': MyRule is not a subclass of Dedup"):
        make(Dedup, "./mine.py:MyRule")


def test_a_wrong_parameter_names_the_nearest(folder: Path) -> None:
    write(folder / "mine.py")
    with pytest.raises(RecipeError, match=r"rule './mine.py:MyRule' has no parameter 'limt': did you mean 'limit'"):
        make(Rule, {"./mine.py:MyRule": {"limt": 2}})


def test_two_classes_of_one_name_in_one_list_are_refused(folder: Path) -> None:
    write(folder / "a.py")
    write(folder / "b.py")
    with pytest.raises(RecipeError, match=r"'./a.py:MyRule' and './b.py:MyRule' would both be called 'my_rule'"):
        rules_of(["./a.py:MyRule", "./b.py:MyRule"])


def test_an_error_of_a_recipe_names_its_line(tmp_path: Path) -> None:
    write(tmp_path / "mine.py", "x = (\n")
    recipe = write(
        tmp_path / "r.yaml",
        "question: Q?\ncorpora:\n  raw: {source: {text: t}}\n  mine:\n    from: raw\n    rules:\n"
        "      - length\n      - ./mine.py:MyRule\n",
    )
    with pytest.raises(RecipeError, match=r"r.yaml, line 8: rule './mine.py:MyRule' cannot be loaded: line 1: Syntax"):
        read(recipe)


JUDGE = """
from windtunnel.generators.judges._judge import Judge, Verdict

class MyJudge(Judge):
    def verdicts(self, pairs):
        return [Verdict(1.0, 1.0) for _ in pairs]
"""


def test_a_colon_in_a_judges_name_is_an_address_or_a_class(folder: Path) -> None:
    write(folder / "mine.py", JUDGE)
    assert type(make_judge("./mine.py:MyJudge")).__name__ == "MyJudge"
    openai = make_judge("openai:my.py@http://127.0.0.1:1/v1")
    assert isinstance(openai, Judge) and plugin.reference(openai) == "openai"
    assert openai.model_dump()["at"] == "my.py@http://127.0.0.1:1/v1"
    assert make_judge("reward:models/a.py").model_dump()["directory"] == "models/a.py"
    with pytest.raises(RecipeError, match="no judge is called 'opanai': did you mean 'openai'"):
        make_judge("opanai:m@http://127.0.0.1:1/v1")


def test_any_edit_of_the_file_is_another_digest_and_another_class(folder: Path) -> None:
    file = write(folder / "mine.py")
    before = find(Rule, "./mine.py:MyRule")
    digest = plugin.digest(before)
    assert len(digest) == 32 and find(Rule, "./mine.py:MyRule") is before
    file.write_text(RULE + "# a comment\n")
    after = find(Rule, "./mine.py:MyRule")
    assert after is not before and plugin.digest(after) != digest
    file.write_text(RULE)
    assert plugin.digest(find(Rule, "./mine.py:MyRule")) == digest


HELPED = """
from windtunnel.pipelines.filters._rule import Rule
from .words import limits
from . import more

class Helped(Rule):
    def reasons(self):
        from .words.late import LATE  # read with the others, executed when it is reached
        return [limits.LIMIT, more.MORE, LATE]
"""


def test_files_that_a_part_imports_from_beside_it_are_part_of_its_digest(folder: Path) -> None:
    write(folder / "parts" / "helped.py", HELPED)
    write(folder / "parts" / "words" / "__init__.py", "from ..more import MORE\n")
    write(folder / "parts" / "words" / "limits.py", "LIMIT = 3\n")
    late = write(folder / "parts" / "words" / "late.py", "LATE = 5\n")
    write(folder / "parts" / "more.py", "MORE = 4\n")
    write(folder / "parts" / "unrelated.py", "1 / 0\n")
    before = find(Rule, "./parts/helped.py:Helped")
    digest = plugin.digest(before)
    late.write_text("LATE = 6\n")
    assert before().reasons() == [3, 4, 5]  # the bytes that were hashed
    after = find(Rule, "./parts/helped.py:Helped")
    assert plugin.digest(after) != digest and after().reasons() == [3, 4, 6]
    pins = {"parts/helped.py": plugin.digest(after)}
    write(folder / "parts" / "unrelated.py", "2 / 0\n")
    write(folder / "parts" / "more.py", "MORE = 7\n")
    with plugin_files.relative_to(folder, pins), pytest.raises(InputError, match="or a file that it imports changed"):
        find(Rule, "./parts/helped.py:Helped")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("import beside", r"line 2 of mine.py imports 'beside', .* write `from .beside import ...`"),
        ("from beside import X", r"line 2 of mine.py imports 'beside'"),
        ("from .absent import X", r"line 2 of mine.py: there is no file absent.py"),
        ("from .. import above", r"line 2 of mine.py: the import leaves the directory"),
        ("from .link import X", r"line 2 of mine.py: .* lies outside the directory"),
        ("from .wrong import X", r"cannot be loaded: wrong.py, line 1: SyntaxError"),
        ("raise GeneratorExit('gone')", r"cannot be loaded: line 2: GeneratorExit: gone"),
    ],
)
def test_an_import_that_does_not_do_is_refused_with_its_line(folder: Path, line: str, message: str) -> None:
    write(folder / "mine.py", f"\n{line}\n{RULE}")
    write(folder / "beside.py", "X = 1\n")
    write(folder / "wrong.py", "X = = 1\n")
    (folder / "link.py").symlink_to(write(folder.parent / "outside.py", "X = 1\n"))
    write(folder / "json.py", "X = 1\n")  # the standard library's is meant where it is imported
    before = set(sys.modules)
    with pytest.raises(RecipeError, match=message):
        find(Rule, "./mine.py:MyRule")
    assert set(sys.modules) - before <= {plugin_files.PACKAGE}
    write(folder / "mine.py", f"import json\n{RULE}")
    assert find(Rule, "./mine.py:MyRule")


def test_equal_files_of_two_directories_are_two_parts(tmp_path: Path) -> None:
    for name in ("x", "y", "x"):
        write(tmp_path / name / "mine.py")
        with plugin_files.relative_to(tmp_path / name):
            assert plugin_files.file_reference(find(Rule, "./mine.py:MyRule")) == "./mine.py:MyRule"


def test_a_pinned_file_that_changed_is_refused(folder: Path) -> None:
    file = write(folder / "mine.py")
    pins = {"mine.py": plugin.digest(find(Rule, "./mine.py:MyRule"))}
    with plugin_files.relative_to(folder, pins):
        assert find(Rule, "./mine.py:MyRule")
        file.write_text(RULE + "# changed\n")
        with pytest.raises(InputError, match=r"mine.py changed during the run: run again"):
            find(Rule, "./mine.py:MyRule")


PACKAGE = """
from windtunnel.pipelines.filters._rule import Example, Reason, Rule, above
import polars as pl

class Shout(Rule):
    \"\"\"Drop documents of many words.\"\"\"
    limit: int = 2  # words
    keeps = (Example("a b"),)
    drops = (Example("a b c", "many"),)
    def reasons(self):
        return above("many", pl.col("words"), self.limit)
"""
ENTRY_POINTS = """[windtunnel.rules]
shout = shouting:Shout
broken = shouting_broken:Shout
missing = shouting:Whisper
length = shouting:Shout
function = shouting:above
method = shouting_method:Method
same = windtunnel.pipelines.filters.length:Length

[windtunnel.dedup]
shout = shouting:Shout
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a directory like site-packages with a package that declares entry points."""
    site = tmp_path / "site"
    write(site / "shouting.py", PACKAGE)
    write(site / "shouting_broken.py", "import no_such_package\n")
    write(site / "shouting_method.py", "from windtunnel.pipelines.dedup.exact import Exact as Method\n")
    write(site / "shouting-1.5.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: shouting\nVersion: 1.5\n")
    write(site / "shouting-1.5.dist-info" / "entry_points.txt", ENTRY_POINTS)
    return site


def windtunnel(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process that finds the fake installation."""
    code = f"import sys; sys.path.insert(0, {str(site)!r}); from windtunnel.pipelines.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=site.parent)


def test_a_part_of_an_installed_package_is_listed_described_and_checked(site: Path) -> None:
    listed = windtunnel(site, "list", "rule")
    assert "shout" in listed.stdout and "from the installed package shouting 1.5" in listed.stdout, listed.stderr
    described = windtunnel(site, "list", "rule", "shout").stdout
    assert "rule shout, version 1, the installed package shouting 1.5" in described
    assert "Drop documents of many words." in described and "shout.many" in described
    checked = windtunnel(site, "check", "rule", "shout")
    assert checked.returncode == 0 and "3 ok, 0 failed" in checked.stdout, checked.stderr
    built_in = windtunnel(site, "list", "rule", "length").stdout  # the built-in part keeps its name
    assert "built in, windtunnel.pipelines.filters.length" in built_in
    assert "built in" in windtunnel(site, "list", "rule", "same").stdout


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("rule", "broken", "package shouting 1.5 (shouting_broken:Shout) cannot be imported: ModuleNotFoundError"),
        ("rule", "missing", "(shouting:Whisper) cannot be imported: AttributeError"),
        ("rule", "function", "(shouting:above) is not a subclass of Rule"),
        ("rule", "method", "(shouting_method:Method) is not a subclass of Rule"),
        ("dedup", "shout", "(shouting:Shout) is not a subclass of Dedup"),
        ("rule", "shuot", "no rule is called 'shuot': did you mean 'shout'"),
    ],
)
def test_an_entry_point_that_does_not_do_is_named_with_the_reason(
    site: Path, kind: str, name: str, message: str
) -> None:
    done = windtunnel(site, "list", kind, name)
    assert done.returncode == 2 and message in done.stderr, done.stderr


KEYS = """
import sys
sys.path.insert(0, {site!r})
from windtunnel.pipelines.filters._decide import Decide
from windtunnel.pipelines.engine.step import Step
step = Step("decide:x", Decide(rules=({{"shout": {{"limit": 3}}}},)))
print(step.key, step.parts[0].reference, step.pins)
"""


def test_the_files_and_the_version_of_an_entry_point_are_part_of_the_key(site: Path) -> None:
    def key() -> list[str]:
        code = KEYS.format(site=str(site))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return done.stdout.split()

    first = key()
    assert first[1:] == ["shout", "{}"] and key() == first
    write(site / "shouting.py", PACKAGE + "# edited\nfrom shouting_words import LIST\n")
    write(site / "shouting_words.py", "LIST = ()\n")
    second = key()
    write(site / "shouting_words.py", "LIST = (1,)\n")
    third = key()
    write(site / "shouting-1.5.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: shouting\nVersion: 1.6\n")
    assert len({each[0] for each in (first, second, third, key())}) == 4
