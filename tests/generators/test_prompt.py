"""Prompts as files: filled as data, versioned by content."""

import jinja2
import pytest

from windtunnel.generators.core.prompt import Prompt, load, names


def test_every_prompt_compiles_and_has_a_version_of_its_own():
    prompts = [load(name) for name in names()]
    assert len(prompts) >= 20
    assert len({p.version for p in prompts}) == len(prompts)
    for prompt in prompts:
        with pytest.raises(jinja2.UndefinedError) if "{{" in prompt.text else _nothing():
            prompt.render()


class _nothing:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def test_values_are_text_and_never_templates():
    hostile = "{{ 7 * 7 }} {% raw %} {{ ''.__class__ }} <b>&amp;"
    assert hostile in load("ultrachat/creation_detail").render(request=hostile)


def test_a_template_cannot_reach_into_python():
    with pytest.raises(jinja2.exceptions.SecurityError):
        Prompt("x", "{{ ''.__class__.__mro__ }}", "").render()


def test_an_unknown_prompt_and_a_path_are_refused():
    with pytest.raises(KeyError, match="no prompt file"):
        load("../../pyproject")


def test_an_include_is_part_of_text_and_version():
    whole = load("ultrafeedback/honesty")
    assert "{% include" not in whole.text
    assert load("ultrafeedback/texts").text.strip() in whole.text


def test_variants_are_the_paragraphs_between_rules():
    variants = load("ultrafeedback/principle_honesty").variants()
    assert len(variants) == 4 and all(variants) and not any("---" in v for v in variants)
