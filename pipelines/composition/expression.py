"""Experts composed by an expression, such as `shape.circle + colour.red - 0.5 * size.big`, read to a tree.

    any     := sum (("|" | "or") sum)*                     at least one of them
    sum     := product (("+" | "and" | "-") product)*      all of them, those after "-" with weight -1
    product := unary (("*" | "/") unary)*                  weights: 2 * a, a * 2, a / 2, 2 * 3 * a
    unary   := ("-" | "~" | "not")* atom                   weight -1; the complement
    atom    := NUMBER | "(" any ")" | "any_of" "(" any ("," any)* ")" | NAME | NAME "." (LABEL | QUOTED)

NAME is `[A-Za-z_][A-Za-z0-9_]*` and no keyword, LABEL `[A-Za-z0-9_]+`, QUOTED printable text in single or double quotes
with a backslash before quotes and backslashes, NUMBER decimal and finite. `not` is as tight as `~`, unlike in Python:
`not a + b` is `(not a) + b`. Nothing of the text is ever run.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from pipelines.trees import ConfigError

MAX_LENGTH = 10_000  # characters, also of the canonical text
MAX_DEPTH = 50  # levels of "(" and "~"; "-" is no level, it only multiplies weights
MAX_BRANCHES = 2_000  # that are searched for what satisfies an expression; people write what takes a dozen


@dataclass(frozen=True)
class Expert:
    """An energy by its name, and what it is asked for."""

    name: str
    label: str | None = None


@dataclass(frozen=True)
class Weighted:
    """The sum of nodes times their weights. None of them is a sum, and a single one has a weight other than 1."""

    terms: tuple[tuple[float, Node], ...]


@dataclass(frozen=True)
class AnyOf:
    """At least one of two or more nodes, none of which is itself an AnyOf."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Not:
    """The complement of a node, which is not itself a Not."""

    part: Node


Node: TypeAlias = Expert | Weighted | AnyOf | Not


def parse(text: str) -> Node:
    """The tree of an expression; ConfigError, in one line and with the place counted from 1, on anything else."""
    if len(text) > MAX_LENGTH:
        raise ConfigError(f"expr: got {len(text)} characters, expected at most {MAX_LENGTH}")
    parser = _Parser(text)
    start = parser.token.start
    node = parser.expert(parser.expression(_BINDING[","]), start)
    parser.take("", "an operator or the end")
    if (length := len(show(node))) > MAX_LENGTH:  # weights multiplied through a long sum
        raise ConfigError(f"expr: got {length} characters when written out, expected at most {MAX_LENGTH}")
    return node


def show(node: Node) -> str:
    """The canonical text in one line: `parse(show(node)) == node` for all that `parse` returns."""
    if isinstance(node, AnyOf):
        return " | ".join(map(show, node.parts))
    if isinstance(node, Weighted):
        text = ""
        for weight, part in node.terms:
            number = repr(abs(weight)).removesuffix(".0") + " * "
            text += (" - " if weight < 0 else " + ") + number.removeprefix("1 * ") + _tight(part)
        return text[3:] if text.startswith(" + ") else "-" + text[3:]
    if isinstance(node, Not):
        return "~" + _tight(node.part)
    if node.label is None or re.fullmatch(r"[A-Za-z0-9_]+", node.label):
        return node.name if node.label is None else f"{node.name}.{node.label}"
    return '{}."{}"'.format(node.name, re.sub(r'(["\\])', r"\\\1", node.label))


def experts(node: Node) -> list[Expert]:
    """The leaves from left to right, each as often as it is written."""
    if isinstance(node, Expert):
        return [node]
    parts = [node.part] if isinstance(node, Not) else [part for _, part in _terms(node) for part in _parts(part)]
    return [expert for part in parts for expert in experts(part)]


def names(node: Node) -> list[str]:
    """Of the experts, each once, in the order that they are first written."""
    return list(dict.fromkeys(leaf.name for leaf in experts(node)))


def contradiction(node: Node) -> str | None:
    """Why nothing can have all that an expression asks for, in one sentence; None where something can.

    An x has one label of each expert, so nothing satisfies `shape.circle + shape.cross` or `shape.circle + not
    shape.circle`. One part of an `|` has to be possible. What is subtracted, and an expert without a label, ask for
    nothing. An expression with more than MAX_BRANCHES ways to satisfy it counts as possible.
    """
    told: str | None = None
    branches: list[tuple[_Wish, _Later, _Labels]] = [((node, True), None, {})]
    for _ in range(MAX_BRANCHES):
        if not branches:
            return told
        wish, later, known = branches.pop()
        labels, choices = _opened(wish)
        known, problem = _learned(known, labels)
        if problem:
            told = told or problem
            continue
        for choice in reversed(choices):
            later = choice, later
        if later is None:
            return None
        choice, later = later
        branches += [(part, later, known) for part in reversed(choice)]
    return None


_Wish: TypeAlias = "tuple[Node, bool]"  # a node, and whether it or its complement has to hold
_Later: TypeAlias = "tuple[list[_Wish], _Later] | None"  # lists of which one wish each has to hold
_Labels: TypeAlias = "dict[str | Expert, Expert]"  # by its expert the label that x has, by itself each that it has not


def _opened(wish: _Wish) -> tuple[list[tuple[Expert, bool]], list[list[_Wish]]]:
    """The labels that x must have or must not have, and alternatives of which one each has to hold."""
    labels: list[tuple[Expert, bool]] = []
    choices: list[list[_Wish]] = []
    wishes = [wish]
    while wishes:
        node, holds = wishes.pop()
        if isinstance(node, Expert):
            labels += [(node, holds)] * (node.label is not None)
            continue
        if isinstance(node, Not):
            parts = [(node.part, not holds)]
        elif isinstance(node, AnyOf):
            parts = [(part, holds) for part in node.parts]
        elif holds:
            parts = [(part, True) for weight, part in node.terms if weight > 0]
        else:  # the complement of a sum with weights means nothing: nothing is asked for
            parts = [(part, False) for _, part in node.terms] if all(w == 1 for w, _ in node.terms) else []
        if len(parts) > 1 and isinstance(node, AnyOf) is holds:
            choices.append(parts)
        else:
            wishes += reversed(parts)
    return labels, choices


def _learned(known: _Labels, labels: list[tuple[Expert, bool]]) -> tuple[_Labels, str | None]:
    """What is known of x with more labels, and the first contradiction among them."""
    known = dict(known)
    for leaf, holds in labels:
        has = known.get(leaf.name)
        if holds and has not in (None, leaf):
            either = f"{show(has)} | {show(leaf)}"
            return known, f"nothing is both {show(has)} and {show(leaf)}; ask for one of them, or for either: {either}"
        if (leaf in known) if holds else has == leaf:
            return known, f"nothing is both {show(leaf)} and not {show(leaf)}; leave out one of them"
        known[leaf.name if holds else leaf] = leaf
    return known, None


def _tight(node: Node) -> str:
    """The text as an operand of the unary operators."""
    is_minus = isinstance(node, Weighted) and len(node.terms) == 1 and node.terms[0][0] == -1
    return show(node) if is_minus or isinstance(node, Expert | Not) else f"({show(node)})"


def _terms(node: Node) -> tuple[tuple[float, Node], ...]:
    return node.terms if isinstance(node, Weighted) else ((1.0, node),)


def _parts(node: Node) -> tuple[Node, ...]:
    return node.parts if isinstance(node, AnyOf) else (node,)


_TOKEN = re.compile(r"""(?xsa) \s* (?P<token> (?P<number> (\d+\.?\d* | \.\d+) ([eE][-+]?\d+)?)
    | (or | and | not | any_of)\b | (?P<name> [A-Za-z_]\w*) (?P<dot> \. ( (?P<label> \w+) | (?P<quote> ["'])
        (?P<quoted> ((?!(?P=quote)) [^\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff] | \\["'\\])+) (?P=quote) )?)?
    | . | \Z)""")  # what is quoted neither breaks a line nor lacks UTF-8
_WORDS = {"or": "|", "and": "+", "not": "~", "any_of": "any_of"}
_BINDING = {",": 1, "|": 2, "+": 3, "-": 3, "*": 4, "/": 4}
_ONE = Expert("")  # what numbers are weights of while they stand alone
_MINUS = Weighted(((-1.0, _ONE),))


class _Token(NamedTuple):
    kind: str  # "value", "any_of", "" for the end, or the one character that it is or means
    text: str
    start: int
    value: Node  # of the kind "value"


class _Parser:
    """Precedence climbing over `text`; `token` is the next one."""

    def __init__(self, text: str):
        self.text, self.depth = text, 0
        self.tokens = map(self.scan, _TOKEN.finditer(text))  # read when needed: the first error is the one reported
        self.token = next(self.tokens)

    def error(self, start: int, problem: str, hint: str) -> ConfigError:
        low, high = max(0, start - 40), start + 40
        part = "…" * (low > 0) + self.text[low:high] + "…" * (high < len(self.text))
        return ConfigError(f"expr: {part!r}: {problem} at character {start + 1}, expected {hint}")

    def scan(self, match: re.Match[str]) -> _Token:
        """A character of no meaning is a token, too: the grammar knows what it expected in its place."""
        text, start, weight = match["token"], match.start("token"), float(match["number"] or 0)
        label = match["label"] or re.sub(r"\\(.)", r"\1", match["quoted"] or "") or None
        if math.isinf(weight):
            raise self.error(start, "overflow", "a finite number")
        if match["dot"] and not label:
            raise self.error(match.end("dot"), "no label or closed quote", "one as in shape.circle or kind.'two words'")
        kind = "value" if match["number"] or match["name"] else _WORDS.get(text, text)
        value = Weighted(((weight, _ONE),)) if match["number"] else Expert(match["name"] or "", label)
        return _Token(kind, text, start, value)

    def take(self, kind: str | None = None, expected: str = "") -> _Token:
        """The next token, which has to be of a kind if one is given. Counts the levels of nesting."""
        token = self.token
        if kind not in (None, token.kind):
            raise self.error(token.start, f"unexpected {repr(token.text[:40]) if token.text else 'end'}", expected)
        self.depth += (token.kind in ("(", "~")) - (token.kind == ")")
        if self.depth > MAX_DEPTH:
            raise self.error(token.start, "nested too deeply", f"at most {MAX_DEPTH} levels of '(' and '~'")
        self.token = next(self.tokens, token)
        return token

    def expression(self, binding: int) -> Node:
        """All that is joined by operators tighter than `binding`."""
        start, left = self.token.start, self.unary()
        while (tighter := _BINDING.get(self.token.kind, 0)) > binding:
            sign, right_start = self.take(), self.token.start
            right = self.expression(tighter)
            if sign.kind in "*/":
                left = self.weigh(left, right, sign)
                continue
            right = self.weigh(right, _MINUS, sign) if sign.kind == "-" else right
            left, right = self.expert(left, start), self.expert(right, right_start)
            left = AnyOf(_parts(left) + _parts(right)) if sign.kind in "|," else Weighted(_terms(left) + _terms(right))
        return left

    def unary(self) -> Node:
        signs: list[_Token] = []
        while self.token.kind in ("-", "~"):  # a loop: a thousand of them are no recursion
            signs.append(self.take())
        start, value = self.token.start, self.atom()
        for sign in reversed(signs):
            self.depth -= sign.kind == "~"
            if sign.kind == "-":
                value = self.weigh(value, _MINUS, sign)
            else:
                value = value.part if isinstance(value, Not) else Not(self.expert(value, start))
        return value

    def atom(self) -> Node:
        if self.token.kind == "value":
            return self.take().value
        is_any = self.token.kind == "any_of" and self.take()
        opening = self.take("(", "'(' after any_of" if is_any else "an expert such as shape.circle, a number or '('")
        start, value = self.token.start, self.expression(0 if is_any else _BINDING[","])
        self.take(")", f"an operator or the ')' of character {opening.start + 1}")
        return self.expert(value, start) if is_any else value

    def expert(self, node: Node, start: int) -> Node:
        if _terms(node)[0][1] is _ONE:
            raise self.error(start, "a number alone", "an expert (numbers are only weights, as in 2 * shape.circle)")
        return node

    def weigh(self, left: Node, right: Node, sign: _Token) -> Node:
        """left * right or left / right, one of which has to be a number; the right one unless sign is `*`."""
        if sign.kind == "*" and _terms(right)[0][1] is not _ONE:
            left, right = right, left
        number, unit = _terms(right)[0]
        if unit is not _ONE:
            raise self.error(sign.start, f"'{sign.kind}' without a weight", "2 * a or a / 2 (experts join by + - |)")
        if sign.kind == "/" and number == 0:
            raise self.error(sign.start, "division by zero", "another number")
        terms = [(weight / number if sign.kind == "/" else weight * number, part) for weight, part in _terms(left)]
        if not all(math.isfinite(weight) for weight, _ in terms):
            raise self.error(sign.start, "overflow", "a finite weight")
        return terms[0][1] if len(terms) == 1 and terms[0][0] == 1 else Weighted(tuple(terms))
