"""Laws of expressions: they round-trip, group by one table, and refuse what is wrong at its place in one line."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.composition.expression import (
    MAX_DEPTH,
    MAX_LENGTH,
    AnyOf,
    Expert,
    Node,
    Not,
    Weighted,
    contradiction,
    experts,
    parse,
    show,
)
from pipelines.trees import ConfigError

A, B, C, D = (Expert(name) for name in "abcd")
KEYWORDS = ("and", "or", "not", "any_of")


def weighted(*terms: tuple[float, Node]) -> Weighted:
    return Weighted(terms)


# Trees as the parser makes them, built without it: no sum in a sum, no AnyOf in an AnyOf, no Not in a Not.
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True).filter(lambda name: name not in KEYWORDS)
PRINTABLE = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=6)
LABELS = st.none() | st.from_regex(r"[A-Za-z0-9_]{1,5}", fullmatch=True) | PRINTABLE | st.text("\"'\\ ", min_size=1)
WEIGHTS = st.sampled_from([1.0, -1.0, 0.0, 2.0, -0.5]) | st.floats(allow_nan=False, allow_infinity=False)


def grown(nodes: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    def but(kind: type) -> st.SearchStrategy[Node]:
        return nodes.filter(lambda node: not isinstance(node, kind))

    sums = st.lists(st.tuples(WEIGHTS, but(Weighted)), min_size=1, max_size=3)
    return (
        but(Not).map(Not)
        | st.lists(but(AnyOf), min_size=2, max_size=3).map(lambda parts: AnyOf(tuple(parts)))
        | sums.filter(lambda terms: len(terms) > 1 or terms[0][0] != 1).map(lambda terms: Weighted(tuple(terms)))
    )


TREES = st.recursive(st.builds(Expert, NAMES, LABELS), grown, max_leaves=12)

# Texts of the grammar, with what they mean for given energies, reckoned on the way and not through a tree.
VALUES = {"a": 0.7, "b": -1.3, "c.x": 2.1, "d.7": 0.4}


def any_value(*energies: float) -> float:
    return -float(np.logaddexp.reduce([-energy for energy in energies]))  # of the sum of the densities


def texts(parts: st.SearchStrategy[tuple[str, float]]) -> st.SearchStrategy[tuple[str, float]]:
    """Everything in parentheses; that they may be left out is the table's business below."""
    pair = st.tuples(parts, parts)
    number = st.sampled_from(["2", "0.5", ".25", "3e-1", "1", "0"])
    return (
        pair.map(lambda p: (f"({p[0][0]})+({p[1][0]})", p[0][1] + p[1][1]))
        | pair.map(lambda p: (f"({p[0][0]}) - ({p[1][0]})", p[0][1] - p[1][1]))
        | pair.map(lambda p: (f"({p[0][0]}) |({p[1][0]})", any_value(p[0][1], p[1][1])))
        | pair.map(lambda p: (f"any_of({p[0][0]}, {p[1][0]})", any_value(p[0][1], p[1][1])))
        | parts.map(lambda p: (f"-({p[0]})", -p[1]))
        | parts.map(lambda p: (f"not ({p[0]})", 3 - p[1]))
        | st.tuples(number, parts).map(lambda p: (f"{p[0]} * ({p[1][0]})", float(p[0]) * p[1][1]))
        | st.tuples(parts, number).map(lambda p: (f"({p[0][0]}) *{p[1]}", p[0][1] * float(p[1])))
        | parts.map(lambda p: (f"({p[0]})\n/ 4", p[1] / 4))
    )


TEXTS = st.recursive(st.sampled_from(sorted(VALUES.items())), texts, max_leaves=8)


def value(node: Node) -> float:
    """What a tree means for VALUES; the complement is a reflection, so that two of them cancel."""
    if isinstance(node, Expert):
        return VALUES[show(node)]
    if isinstance(node, Not):
        return 3 - value(node.part)
    if isinstance(node, Weighted):
        return sum(weight * value(part) for weight, part in node.terms)
    return any_value(*map(value, node.parts))


def is_canonical(node: Node) -> bool:
    if isinstance(node, Expert):
        return True
    if isinstance(node, Not):
        return not isinstance(node.part, Not) and is_canonical(node.part)
    if isinstance(node, AnyOf):
        alike = len(node.parts) < 2 or any(isinstance(part, AnyOf) for part in node.parts)
        return not alike and all(map(is_canonical, node.parts))
    alike = not node.terms or any(isinstance(part, Weighted) for _, part in node.terms)
    is_bare = len(node.terms) == 1 and node.terms[0][0] == 1
    return not alike and not is_bare and all(is_canonical(part) for _, part in node.terms)


@pytest.mark.slow
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(TREES)
def test_a_tree_comes_back_from_its_text(node: Node):
    text = show(node)
    assert parse(text) == node
    assert len(text.splitlines()) == 1
    text.encode()


@pytest.mark.slow
@settings(deadline=None, max_examples=200)
@given(TEXTS)
def test_a_text_keeps_its_meaning_in_canonical_form(case: tuple[str, float]):
    text, expected = case
    node = parse(text)
    assert value(node) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert is_canonical(node)
    assert parse(show(node)) == node
    assert show(parse(show(node))) == show(node)
    assert [show(expert) for expert in experts(node)] == re.findall(r"\b(?:a|b|c\.x|d\.7)\b", text)


def refusal(text: str) -> str | None:
    try:
        node = parse(text)
    except ConfigError as error:
        return str(error)
    assert parse(show(node)) == node
    return None


def check_refusal(text: str) -> None:
    message = refusal(text)
    if message is not None:
        assert message.startswith("expr: ") and message.isprintable() and len(message) < 2000
        place = re.search(r" at character (\d+), expected .", message)
        assert place and 1 <= int(place[1]) <= len(text) + 1


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=40))
def test_garbage_is_refused_in_one_line(text: str):
    check_refusal(text)


TOKENS = ["a", "b", ".", "2", "1e999", "'", '"', "\\", "(", ")", ",", "|", "+", "-", "*", "/", "~", " ", "\n", "ø"]


@pytest.mark.slow
@settings(deadline=None, max_examples=500)
@given(st.lists(st.sampled_from([*TOKENS, "c.x", "and ", " or ", "not ", "any_of("]), max_size=15).map("".join))
def test_shuffled_tokens_are_read_or_refused_in_one_line(text: str):
    check_refusal(text)


@pytest.mark.slow
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(TREES.map(show), st.data())
def test_a_damaged_text_is_read_or_refused_in_one_line(text: str, data: st.DataObject):
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(start + 2, len(text))))
    check_refusal(text[:start] + data.draw(st.text(max_size=2)) + text[stop:])


def test_nothing_of_the_text_runs(tmp_path: Path):
    trace = tmp_path / "trace"
    for code in (
        f"__import__('os').system('touch {trace}')",
        f'a.\'x\' + __import__("os").system("touch {trace}")',
        f"open('{trace}', 'w')",
        f"(lambda: open('{trace}', 'w'))()",
        f"any_of(a, [open('{trace}', 'w') for _ in (1,)])",
        f'f"{{open({str(trace)!r}, "w")}}"',
    ):
        with pytest.raises(ConfigError):
            parse(code)
    harmless = f"__import__.'os' + open.\"{trace}\""  # names and labels like any other
    assert experts(parse(harmless)) == [Expert("__import__", "os"), Expert("open", str(trace))]
    assert not trace.exists()


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a | b + c", "a | (b + c)"),
        ("a + b | c - d", "(a + b) | (c - d)"),
        ("a or b and c", "a | (b + c)"),
        ("a + 2 * b", "a + (2 * b)"),
        ("a - b / 2 + c", "(a - (b / 2)) + c"),
        ("a - b - c", "(a - b) - c"),
        ("a - b + c", "(a - b) + c"),
        ("~a * 2", "(~a) * 2"),
        ("2 * ~a", "2 * (~a)"),
        ("not a + b", "(not a) + b"),
        ("not a and not b", "(~a) + (~b)"),
        ("~a | b", "(~a) | b"),
        ("-a * 2 + b", "((-a) * 2) + b"),
        ("-2 * a", "(-2) * a"),
        ("2 * -a", "2 * (-a)"),
        ("~-a", "~(-a)"),
        ("-~a", "-(~a)"),
        ("8 / 2 / 2 * a", "((8 / 2) / 2) * a"),
        ("a / 2 * 4", "(a / 2) * 4"),
        ("any_of(a + b, c | d)", "(a + b) | c | d"),
        ("2 * any_of(a, b) + c", "(2 * (a | b)) + c"),
        ("~any_of(a, b)", "~(a | b)"),
    ],
)
def test_precedence(text: str, same: str):
    assert parse(text) == parse(same)


@pytest.mark.parametrize(
    ("text", "node", "canonical"),
    [
        ("bright", Expert("bright"), "bright"),
        ("digit.7", Expert("digit", "7"), "digit.7"),
        ("digit.007", Expert("digit", "007"), "digit.007"),
        ("shape.not", Expert("shape", "not"), "shape.not"),
        ("order", Expert("order"), "order"),
        ("not_a", Expert("not_a"), "not_a"),
        ("kind.'circle'", Expert("kind", "circle"), "kind.circle"),
        ('kind."night stand"', Expert("kind", "night stand"), 'kind."night stand"'),
        ("kind.'it\\'s a \"b\\\\c\"'", Expert("kind", 'it\'s a "b\\c"'), 'kind."it\'s a \\"b\\\\c\\""'),
        ("a.'2.5 * rød'", Expert("a", "2.5 * rød"), 'a."2.5 * rød"'),
        ("2.5*a", weighted((2.5, A)), "2.5 * a"),
        ("1e-3 * a", weighted((0.001, A)), "0.001 * a"),
        ("2.E+1 * a", weighted((20.0, A)), "20 * a"),
        ("a + (b - c)", weighted((1.0, A), (1.0, B), (-1.0, C)), "a + b - c"),
        ("a - (b - 2 * (c - d))", weighted((1.0, A), (-1.0, B), (2.0, C), (-2.0, D)), "a - b + 2 * c - 2 * d"),
        ("-(a + b) / 2", weighted((-0.5, A), (-0.5, B)), "-0.5 * a - 0.5 * b"),
        ("2 * 3 * a", weighted((6.0, A)), "6 * a"),
        ("a / 3", weighted((1 / 3, A)), "0.3333333333333333 * a"),
        ("2 * (a / 2)", A, "a"),
        ("- -a", A, "a"),
        ("-a", weighted((-1.0, A)), "-a"),
        ("a + a", weighted((1.0, A), (1.0, A)), "a + a"),
        ("0 * a", weighted((0.0, A)), "0 * a"),
        ("(a | b) | any_of(c, d)", AnyOf((A, B, C, D)), "a | b | c | d"),
        ("1 * (a | b) | c", AnyOf((A, B, C)), "a | b | c"),
        ("2 * (a | b) | c", AnyOf((weighted((2.0, AnyOf((A, B)))), C)), "2 * (a | b) | c"),
        ("any_of(a)", A, "a"),
        ("~~a", A, "a"),
        ("not not not a", Not(A), "~a"),
        ("~(1 * ~(a + b))", weighted((1.0, A), (1.0, B)), "a + b"),
        ("~(2 * ~a)", Not(weighted((2.0, Not(A)))), "~(2 * ~a)"),
        ("\ta\n+ b ", weighted((1.0, A), (1.0, B)), "a + b"),
    ],
)
def test_flattening_and_canonical_text(text: str, node: Node, canonical: str):
    assert parse(text) == node
    assert show(node) == canonical


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", 1, "unexpected end.*an expert"),
        ("   ", 4, "unexpected end.*an expert"),
        ("shape.circle + + red", 16, r"unexpected '\+'.*an expert"),
        ("a b", 3, "unexpected 'b'.*an operator"),
        ("a +", 4, "unexpected end.*an expert"),
        ("a * * b", 5, r"unexpected '\*'.*an expert"),
        ("a + 2", 5, "number alone"),
        ("a - 2", 5, "number alone"),
        ("2 * 3 + a", 1, "number alone"),
        ("a | (2)", 5, "number alone"),
        ("  2", 3, "number alone"),
        ("any_of(a, 2)", 11, "number alone"),
        ("any_of(2) * a", 8, "number alone"),
        ("~2 * a", 2, "number alone"),
        ("a * b", 3, r"'\*' without a weight"),
        ("a / b", 3, "'/' without a weight"),
        ("2 / a", 3, "'/' without a weight"),
        ("a / 0", 3, "division by zero"),
        ("a / (2 * 0)", 3, "division by zero"),
        ("1 / 0 * a", 3, "division by zero"),
        ("a + 1e999 * b", 5, "overflow"),
        ("a / 1e999", 5, "overflow"),
        ("1e200 * 1e200 * a", 7, "overflow"),
        ("1e200 * (a + 1e200 * b)", 7, "overflow"),
        ("a / 1e-320", 3, "overflow"),
        ("(a + b", 7, r"unexpected end.*'\)' of character 1"),
        ("a + (b | (c)", 13, r"unexpected end.*'\)' of character 5"),
        ("a)", 2, r"unexpected '\)'.*the end"),
        ("()", 2, r"unexpected '\)'.*an expert"),
        ("(a, b)", 3, "unexpected ','"),
        ("a, b", 2, "unexpected ','"),
        ("any_of()", 8, r"unexpected '\)'.*an expert"),
        ("any_of(a,)", 10, r"unexpected '\)'.*an expert"),
        ("any_of + a", 8, r"unexpected '\+'.*'\(' after any_of"),
        ("and", 1, "unexpected 'and'.*an expert"),
        ("or.x + b", 1, "unexpected 'or'"),
        ("not.x + b", 4, r"unexpected '\.'"),
        ("a + any_of", 11, "unexpected end"),
        ("shape.", 7, "no label"),
        ("shape. circle", 7, "no label"),
        ("shape .circle", 7, r"unexpected '\.'"),
        ("a + kind.'night", 10, "no label or closed quote"),
        ("kind.\"night'", 6, "no label or closed quote"),
        ("kind.''", 6, "no label"),
        ("kind.'a\nb'", 6, "no label"),
        ("kind.'a\\n'", 6, "no label"),
        ("kind.'\ud800'", 6, "no label"),
        ("kind.'a\u2028b'", 6, "no label"),
        ("kind.night stand", 12, "unexpected 'stand'"),
        ("a.b.c", 4, r"unexpected '\.'"),
        ("rød", 2, "unexpected 'ø'"),
        ("a\n\x00", 3, r"unexpected '\\x00'"),
        ("a ** 2", 4, r"unexpected '\*'"),
        ("+a", 1, r"unexpected '\+'"),
        ("2a", 1, "number alone"),
        ("٣ * a", 1, "unexpected"),
    ],
)
def test_errors_point_at_the_place(text: str, place: int, words: str):
    with pytest.raises(ConfigError, match=words) as error:
        parse(text)
    assert f" at character {place}, expected " in str(error.value)
    assert str(error.value).startswith(f"expr: {text!r}: ") and str(error.value).isprintable()


def test_an_error_in_a_long_text_shows_what_is_around():
    message = refusal("a + " * 500 + "$ + wrong" + " + a" * 500)
    assert message is not None and "unexpected '$' at character 2001" in message
    assert "$ + wrong" in message and len(message) < 300
    message = refusal("a " + "b" * 5000)
    assert message is not None and "unexpected 'bbb" in message and len(message) < 300


@pytest.mark.parametrize(
    ("before", "middle", "after", "level"),  # the level of nesting begins at that character of `before`
    [
        ("(", "a", ")", 1),
        ("any_of(", "a", ")", 7),
        ("~-", "a", "", 1),
        ("not - ", "a", "", 1),
        ("-1 * (", "a | b", ") | c", 6),
        ("2 * (", "a | b", ") | c", 5),
        ("a + any_of(b, ", "c", ")", 11),
    ],
)
def test_nesting_has_a_limit_that_the_canonical_text_keeps(before: str, middle: str, after: str, level: int):
    text = before * MAX_DEPTH + middle + after * MAX_DEPTH
    node = parse(text)
    assert parse(show(node)) == node
    assert len(experts(node)) == len(re.findall(r"\b[abc]\b", text))
    assert hash(node) == hash(parse(show(node))) and repr(node)
    for depth in (MAX_DEPTH + 1, 300):
        place = MAX_DEPTH * len(before) + level
        with pytest.raises(ConfigError, match=f"nested too deeply at character {place}, expected at most"):
            parse(before * depth + middle + after * depth)


def test_nesting_is_counted_by_depth_not_by_number():
    side_by_side = " + ".join(["~(a | b)"] * 2 * MAX_DEPTH)
    assert show(parse(side_by_side)) == side_by_side
    assert parse("-" * (MAX_LENGTH - 1) + "a") == weighted((-1.0, A))


def test_length_has_a_limit_that_the_canonical_text_keeps():
    longest = "a" * MAX_LENGTH
    assert parse(longest) == Expert(longest)
    for text in (longest + "a", " " * MAX_LENGTH + "a", "(" * 10**6, "+".join("a" * (MAX_LENGTH // 2))):
        with pytest.raises(ConfigError, match=f"^expr: got [0-9]+ characters.*expected at most {MAX_LENGTH}$"):
            parse(text)


def test_the_worst_texts_take_no_time():
    start = time.process_time()
    for text in ("a.'" + "\\\\" * 4990, 'a."' + "x" * 9990, "((a" * 3000, "1" * 9990, " " * 9990, "a+" * 4000 + "$"):
        assert refusal(text) is not None
    assert time.process_time() - start < 5  # they take .2 s


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a.x + a.y", "nothing is both a.x and a.y; ask for one of them, or for either: a.x | a.y"),
        ("2 * a.x + b.x + 0.5 * (c.x + a.y)", "nothing is both a.x and a.y;"),
        ("a.x + not a.x", "nothing is both a.x and not a.x; leave out one of them"),
        ("not a.x + a.x", "nothing is both a.x and not a.x;"),
        ("a.'two words' + not (b.x | a.'two words')", 'both a."two words" and not a."two words";'),
        ("not (not a.x) + a.y", "both a.x and a.y"),
        ("(a.x | b.x) + not (a.x | b.x)", "both a.x and not a.x"),
        ("(a.x + b.x) + not (a.x + b.x)", "both a.x and not a.x"),
        ("(a.x | a.y) + (a.z | a.w)", "both a.x and a.z"),
        ("(a.x | b.x) + a.y + not b.x", "both"),
        ("(a.x + a.y) | (b.x + b.y)", "both a.x and a.y"),
    ],
)
def test_what_nothing_can_be_is_told_in_a_sentence(text: str, told: str):
    said = contradiction(parse(text))
    assert said and told in said and "\n" not in said


@pytest.mark.parametrize(
    "text",
    [
        "a.x",
        "a.x + b.y",
        "a.x + a.x",
        "a.x + a",
        "a + not a.x",
        "a.x + not a.y + not a.z",
        "a.x - a.y",
        "a.x - 0.5 * (a.y + a.z)",
        "a.x + 0 * a.y",
        "a.x - not a.x",
        "a.x | a.y",
        "(a.x + a.y) | a.z",
        "(a.x | b.x) + a.y",
        "(a.x | a.y) + (a.y | a.z)",
        "(a.x | b.x) + not (a.x + b.x)",
        "a.x + not (a.x + b.x)",
        "a.x + not (2 * a.x + b.x)",
        "a.x + not (a.x - b.x)",
    ],
)
def test_what_something_can_be_is_no_contradiction(text: str):
    assert contradiction(parse(text)) is None


def satisfies(node: Node, x: dict[str, str]) -> bool:
    """Whether an x, given by its label of each expert, is what a node asks for."""
    if isinstance(node, Expert):
        return x[node.name] == node.label
    if isinstance(node, Not):
        return not satisfies(node.part, x)
    if isinstance(node, AnyOf):
        return any(satisfies(part, x) for part in node.parts)
    return all(satisfies(part, x) for weight, part in node.terms if weight > 0)


def small(nodes: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    several = st.lists(nodes, min_size=2, max_size=3)
    sums = several.map(lambda parts: Weighted(tuple((1.0, part) for part in parts)))
    return sums | several.map(lambda parts: AnyOf(tuple(parts))) | nodes.map(Not)


PLAIN = st.recursive(st.builds(Expert, st.sampled_from("ab"), st.sampled_from("xyz")), small, max_leaves=6)
TERMS = st.lists(st.tuples(st.sampled_from([1.0, 0.5, 0.0, -1.0]), PLAIN), min_size=1, max_size=3)


@pytest.mark.slow
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(TERMS.map(lambda terms: Weighted(tuple(terms))))
def test_a_contradiction_is_what_no_x_satisfies(node: Node):
    """By trying every x; `w` stands for labels that the expression does not name."""
    every = [{"a": a, "b": b} for a in "wxyz" for b in "wxyz"]
    assert (contradiction(node) is None) == any(satisfies(node, x) for x in every)


def test_the_worst_contradictions_take_no_time():
    mixtures = " + ".join(f"(a.{k} | b.{k})" for k in range(500))
    apart = " + ".join(f"(a{k}.x | b{k}.x)" for k in range(400))
    start = time.process_time()
    assert contradiction(parse(apart)) is None
    assert contradiction(parse(f"{apart} + c.x + c.y"))
    contradiction(parse(mixtures))
    assert time.process_time() - start < 3
