"""From an expression and experts by name to one energy.

An expert that was learned by class knows p(x | label) and p(x). A concept of it is what the label says beyond that:
the ratio E(x, label) - E(x), whose constant an `AnyOf` balances. Concepts of any experts then share one prior p(x):

    E(x) = E_prior(x) + strength * sum_i w_i (E_i(x, label_i) - E_i(x)),

so that p(x) counts once, and not as often as there are experts (Liu et al. 2022, eq. 11). An expert without classes, a
score or a classifier is added as it is. An expression that is a mixture itself is the `AnyOf` of such sums: each part
can be sampled by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from torch import Tensor

from energies.algebra import AnyOf, Composite, WeightedSum
from energies.energy import Energy
from energies.family import Family, is_noisy
from pipelines.composition import expression
from pipelines.composition.expression import Expert, Node, Weighted
from pipelines.trees import ConfigError, unknown

Balance: TypeAlias = "Callable[[AnyOf, list[WeightedSum], Callable[[AnyOf], WeightedSum] | None], AnyOf]"
"""(mixture of what parts add to the prior, the whole energy of each part, what makes that of a mixture) -> the mixture,
its parts counting alike; None: new x are drawn part by part, so that samples of the whole tell nothing more."""

Terms: TypeAlias = "dict[tuple[str, str | None], tuple[float, Energy]]"


@dataclass(frozen=True)
class Composer:
    """Makes energies of expressions.

    Args:
        experts: by name.
        strength: how much concepts count: 1 is Bayes' rule; more insists on them, at a lower temperature.
        prior: names of the experts whose p(x) is the prior, their energies averaged.
        balance: of mixtures; None leaves all offsets 0, and a mixture a term of the sum.
    """

    experts: Mapping[str, Energy]
    strength: float
    prior: tuple[str, ...]
    balance: Balance | None = None
    made: dict[Node, AnyOf] = field(default_factory=dict)
    leaves: dict[Expert, Energy] = field(default_factory=dict)  # one energy a concept, so that it is asked once of an x

    def compose(self, node: Node) -> WeightedSum | AnyOf:
        """The energy of an expression. ConfigError: a name or label is unknown, or `not` has no meaning."""
        while isinstance(node := _together(node), expression.Not):
            node = self._complement(node.part)
        if not isinstance(node, expression.AnyOf) or self.balance is None:
            return self._whole(self._terms(node))
        terms = self._alternatives(node)
        wholes = [self._whole(t) for t in terms]
        mixture = self.balance(_mixed(terms), wholes, None)
        return AnyOf(wholes, mixture.offsets.tolist(), mixture.levels)

    def product(self, labels: Mapping[str, Tensor]) -> WeightedSum:
        """The energy of x that have all of these labels, numbers [B] of each expert's classes: one a sample."""
        terms: Terms = {}
        for name, label in labels.items():
            energy = self.experts[name]
            assert isinstance(energy, Family)
            terms[(name, "")] = self.strength, energy.given(label)
            terms[(name, None)] = -self.strength, energy
        return self._whole(terms)

    def _whole(self, terms: Terms) -> WeightedSum:
        share = 1 / max(len(self.prior), 1)
        prior: Terms = {(name, None): (share, self.experts[name]) for name in self.prior}
        if terms and all(abs(w) <= 1e-9 for w, _ in terms.values()):
            raise ConfigError("compose.expr: adds up to nothing; leave out what cancels")
        total = [(w, energy) for w, energy in _sum([(1.0, prior), (1.0, terms)]).values() if abs(w) > 1e-9]
        return WeightedSum([energy for _, energy in total], [w for w, _ in total])

    def _terms(self, node: Node) -> Terms:
        """What a node adds to the prior."""
        node = _together(node)
        if isinstance(node, Expert):
            return self._concept(node)
        if isinstance(node, Weighted):
            return _sum([(weight, self._terms(part)) for weight, part in node.terms])
        if isinstance(node, expression.Not):
            return self._terms(self._complement(node.part))
        if node not in self.made:
            self.made[node] = self._mixture(node)
        return {(repr(node), None): (1.0, self.made[node])}

    def _concept(self, node: Expert) -> Terms:
        energy = self.expert(node)
        if node.label is None:
            # Of an expert that knows classes, its p(x) says nothing that the prior has not said.
            return {} if node.name in self.prior else {(node.name, None): (1.0, energy)}
        return {
            (node.name, node.label): (self.strength, self.leaves.setdefault(node, given(energy, node.label))),
            (node.name, None): (-self.strength, energy),
        }

    def _mixture(self, node: expression.AnyOf) -> AnyOf:
        terms = self._alternatives(node)
        mixture = _mixed(terms)
        if self.balance is None:
            return mixture
        return self.balance(mixture, [self._whole(t) for t in terms], lambda m: self._whole({("", ""): (1.0, m)}))

    def _alternatives(self, node: expression.AnyOf) -> list[Terms]:
        """What each part of a mixture adds to the prior."""
        terms = [self._terms(part) for part in node.parts]
        for part, added in zip(node.parts, terms, strict=True):
            if not added:
                raise ConfigError(
                    f"compose.expr: {expression.show(part)!r} beside '|' asks for nothing; give it a label"
                )
            if not any(is_noisy(energy) for _, energy in added.values()):
                raise ConfigError(
                    f"compose.expr: {expression.show(part)!r} beside '|' is no energy of many noise levels, so nothing "
                    "tells how much it counts; add it to the whole instead"
                )
        return terms

    def _complement(self, node: Node) -> Node:
        """What holds where `node` does not: any other label; of a sum any of the complements, of a mixture all."""
        if leaves := _of_one_expert(node):
            name, wrong = leaves[0].name, {leaf.label for leaf in leaves}
            known = [labels_of(self.expert(leaf)) for leaf in leaves]  # which tells of labels that there are not
            others = [Expert(name, label) for label in known[0] if label not in wrong]
            if not others:
                raise ConfigError(f"compose.expr: 'not {_alone(node)}' leaves nothing: {name} has no other label")
            return others[0] if len(others) == 1 else expression.AnyOf(tuple(others))
        if isinstance(node, Weighted) and all(weight == 1 for weight, _ in node.terms):
            return expression.AnyOf(tuple(self._complement(part) for _, part in node.terms))
        if isinstance(node, expression.AnyOf):
            return Weighted(tuple((1.0, self._complement(part)) for part in _gathered(node.parts)))
        if isinstance(node, expression.Not):
            return node.part
        raise ConfigError(
            f"compose.expr: 'not {_alone(node)}' has no meaning; `not` is for labels, as in not shape.circle; to push "
            "away from an energy, subtract it"
        )

    def expert(self, node: Expert) -> Energy:
        """The expert of a leaf. ConfigError: there is none of that name, or it does not know that label."""
        if node.name not in self.experts:
            unknown("compose.expr: unknown expert", node.name, list(self.experts))
        energy = self.experts[node.name]
        if node.label is not None and node.label not in labels_of(energy):
            known = labels_of(energy)
            if not known:
                composed = isinstance(energy, Composite)
                why = "is a composition: its experts are in RUN/experts" if composed else "was not learned by class"
                raise ConfigError(f"compose.expr: {expression.show(node)}: the expert {node.name} {why}")
            unknown(f"compose.expr: {expression.show(node)}: unknown label", node.label, known)
        return energy


def labels_of(energy: Energy) -> list[str]:
    """Names of an energy's labels: their numbers, where they have none; empty where it knows no labels."""
    if not isinstance(energy, Family):
        return []
    return list(energy.classes) or [str(k) for k in range(energy.num_classes)]


def given(energy: Energy, label: str) -> Energy:
    """The energy of x with one of its `labels_of`."""
    assert isinstance(energy, Family)
    return energy.given(labels_of(energy).index(label))


def priors(experts: Mapping[str, Energy]) -> tuple[str, ...]:
    """The experts whose p(x) can be the prior: learned by class, at all noise levels."""
    return tuple(name for name, energy in experts.items() if labels_of(energy) and is_noisy(energy))


def _of_one_expert(node: Node) -> list[Expert]:
    """A label, or the labels of one expert of which any may hold; empty where it is neither."""
    parts = node.parts if isinstance(node, expression.AnyOf) else (node,)
    leaves = [part for part in parts if isinstance(part, Expert) and part.label is not None]
    return leaves if len(leaves) == len(parts) and len({leaf.name for leaf in leaves}) == 1 else []


def _together(node: Node) -> Node:
    """The same with `not a + not b` as `not (a | b)`: one mixture of what is left, where both are of one expert."""
    if not isinstance(node, Weighted):
        return node
    wrong = [part.part for weight, part in node.terms if weight == 1 and isinstance(part, expression.Not)]
    parts = [part for one in wrong for part in (one.parts if isinstance(one, expression.AnyOf) else (one,))]
    rest = [(weight, part) for weight, part in node.terms if weight != 1 or not isinstance(part, expression.Not)]
    terms = (*rest, *((1.0, expression.Not(part)) for part in _gathered(parts)))
    return terms[0][1] if len(terms) == 1 and terms[0][0] == 1 else Weighted(terms)


def _gathered(parts: Sequence[Node]) -> list[Node]:
    """Alternatives, each once, the labels of one expert together: none of them holds where another label does."""
    groups: dict[Node | str, list[Node]] = {}
    for part in dict.fromkeys(parts):  # what is written twice is one: a mixture of it with itself would go on for ever
        key = part.name if isinstance(part, Expert) and part.label is not None else part
        groups.setdefault(key, []).append(part)
    return [group[0] if len(group) == 1 else expression.AnyOf(tuple(group)) for group in groups.values()]


def _alone(node: Node) -> str:
    """Its text, in parentheses where it is more than a name."""
    text = expression.show(node)
    return f"({text})" if isinstance(node, Weighted | expression.AnyOf) else text


def _mixed(terms: list[Terms]) -> AnyOf:
    """The mixture of what parts add to the prior."""
    return AnyOf([WeightedSum([e for _, e in t.values()], [w for w, _ in t.values()]) for t in terms])


def _sum(parts: list[tuple[float, Terms]]) -> Terms:
    total: Terms = {}
    for weight, terms in parts:
        for key, (w, energy) in terms.items():
            before = total[key][0] if key in total else 0.0
            total[key] = before + weight * w, energy
    return total
