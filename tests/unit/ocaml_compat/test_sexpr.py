"""S-expressions."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaml_compat.sexpr import (
    Sexpr,
    SexprError,
    parse,
    parse_map,
    parse_set,
    render,
    render_map,
    render_set,
)

TREES: st.SearchStrategy[Sexpr] = st.recursive(
    st.text(max_size=8), lambda inner: st.lists(inner, max_size=4), max_leaves=12
)


def test_known_texts() -> None:
    assert render_set([]) == "()"
    assert render_set(["a", "it's", "b\\"]) == "('a' 'it\\'s' 'b\\\\')"
    assert render_map({"k": "v", "q": '"'}) == "(('k' 'v') ('q' '\\\"'))"


def test_readers_take_other_spellings() -> None:
    assert parse("( a \"b c\"\n'd' ; comment\n (e))") == ["a", "b c", "d", ["e"]]
    assert parse_map("((a b))") == {"a": "b"}


@given(TREES)
def test_what_is_written_is_read_again(tree: Sexpr) -> None:
    assert parse(render(tree)) == tree


@given(st.lists(st.text()), st.dictionaries(st.text(), st.text()))
def test_sets_and_maps_come_back(items: list[str], pairs: dict[str, str]) -> None:
    assert parse_set(render_set(items)) == items
    assert parse_map(render_map(pairs)) == pairs


@pytest.mark.parametrize("text", ["", "(", ")", "('a'", "'a", "() ()", "(a))", '"a', "a b"])
def test_broken_texts_are_refused(text: str) -> None:
    with pytest.raises(SexprError):
        parse(text)


@pytest.mark.parametrize("text", ["a", "((a))", "(a (b))"])
def test_other_forms_are_no_sets(text: str) -> None:
    with pytest.raises(SexprError):
        parse_set(text)


@pytest.mark.parametrize("text", ["a", "(a)", "((a))", "((a b c))", "((a (b)))"])
def test_other_forms_are_no_maps(text: str) -> None:
    with pytest.raises(SexprError):
        parse_map(text)


@given(st.text(alphabet="()'\"\\ab ;\n", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(SexprError):
        parse(text)
