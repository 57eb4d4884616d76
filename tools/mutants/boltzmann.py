"""Breaks of Boltzmann machines: of their chains, gradients, ladders and brackets."""

from __future__ import annotations

from mutants.mutant import Mutant

B, TESTS = "energies.boltzmann.", "tests/energies/test_boltzmann"
CHAINS = (
    f"{TESTS}.py::test_chains_arrive_in_the_law_of_x[2]",
    f"{TESTS}.py::test_what_is_seen_stays_and_the_rest_follows_the_conditional_law",
)
GRADIENT = (
    f"{TESTS}.py::test_the_gradient_is_that_of_the_likelihood[3-persistent]",
    f"{TESTS}.py::test_the_centred_gradient_does_not_change_where_zeros_and_ones_are_swapped",
)
LADDER = (f"{TESTS}.py::test_rungs_keep_their_laws_and_exchange",)
BRACKET = (
    f"{TESTS}_likelihood.py::test_annealing_is_unbiased_and_brackets_it[labels]",
    f"{TESTS}_likelihood.py::test_brackets_hold_whatever_the_seed",
)
ENUMERATED = (f"{TESTS}_likelihood.py::test_it_is_enumerated_on_either_side[3-few hidden]",)
DEEP = (f"{TESTS}_deep.py::test_chains_arrive_in_the_law_of_x",)
BOUND = (f"{TESTS}_deep.py::test_mean_field_is_where_the_bound_is_least",)
HELMHOLTZ = (f"{TESTS}_helmholtz.py::test_samples_are_exact_and_given_a_part_chains_arrive",)
WAKE = (
    f"{TESTS}_helmholtz.py::test_the_two_updates_of_wake_sleep",
    f"{TESTS}_helmholtz.py::test_reweighted_with_many_samples_makes_learn_the_likelihood",
)

MUTANTS = (
    Mutant(B + "layers", "chances upside down", "uniform(chance, rng).lt_(chance)", "uniform(chance, rng).gt_(chance)", CHAINS),
    Mutant(B + "layers", "a clamp that is left out", "torch.where(clamp.hidden, v, clamp.seen)", "v", CHAINS),
    Mutant(B + "layers", "labels without their bias", ".mT) + self.labels.bias)", ".mT))", (CHAINS[0].replace("[2]", "[None]"),)),
    Mutant(B + "layers", "what is above is not felt", "total = above if total is None else total + above", "total = above if total is None else total", DEEP),
    Mutant(B + "layers", "half the entropy", "- entropy", "- entropy / 2", BOUND),
    Mutant(B + "layers", "a base that never fades", "bias + (1 - self.beta) * self.base", "bias + self.base", BRACKET),
    Mutant(B + "machine", "offsets of one side alone", "torch.stack([change[1], offsets[1]])", "torch.stack([change[1], 0 * offsets[1]])", GRADIENT),
    Mutant(B + "machine", "chains that count as data", "chains[1] / len(chains[1])", "-chains[1] / len(chains[1])", GRADIENT),
    Mutant(B + "ladder", "all exchanges are made", "uniform(log_ratio, rng).log() < log_ratio", "log_ratio == log_ratio", LADDER),
    Mutant(B + "ladder", "the ratio turned round", "- a.reduced_energy(y) - b.reduced_energy(x)", "- 2 * a.reduced_energy(x)", LADDER),
    Mutant(B + "exact", "a state is left out", "range(0, 2**num, step)", "range(1, 2**num, step)", ENUMERATED),
    Mutant(B + "helmholtz", "causes that are not weighed", "weights.softmax(1).cumsum(1)", "(0 * weights).softmax(1).cumsum(1)", HELMHOLTZ),
    Mutant("energies.annealed_importance", "weights of the state after the sweep", "        if number:\n            units = old.sweep(units, rng)\n", "        units = new.sweep(units, rng)\n", BRACKET),
    Mutant("energies.objectives.wake_sleep", "dreams that are not slept", "return wake + sleep", "return wake", WAKE),
    Mutant("energies.objectives.wake_sleep", "causes that count alike", "log_weights.softmax(0)", "(0 * log_weights).softmax(0)", WAKE),
)  # fmt: skip
