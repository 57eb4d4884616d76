"""Breaks of samplers, observations, posteriors, references and constants."""

from __future__ import annotations

from mutants.mutant import Mutant, of

MCMC, DISCRETE = "tests/energies/test_mcmc.py", "tests/energies/test_discrete.py"
STAYS = f"{MCMC}::test_what_starts_in_the_law_stays_in_it"


def stays(name: str, *more: str) -> tuple[str, ...]:
    """The invariance of one sampler on three laws, then further tests."""
    return (*(f"{STAYS}[{name}-{law}]" for law in ("correlated", "mixture", "box")), *more)


LANGEVIN = ("tests/energies/test_samplers.py::test_langevin_has_its_biased_stationary_variance",)
CONDITIONED = f"{MCMC}::test_given_a_measurement_the_posterior_is_exact"
ARRIVES = f"{MCMC}::test_what_starts_elsewhere_arrives"
JOINT = f"{MCMC}::test_replicas_that_start_in_their_joint_law_stay_in_it"
BAOAB = (
    f"{MCMC}::test_baoab_has_no_bias_in_x_for_a_gaussian",
    f"{MCMC}::test_underdamped_remembers_its_momentum_for_as_long_as_friction_says",
)
GIBBS = (
    f"{DISCRETE}::test_binary_chains_stay_in_their_law_and_arrive_in_it[gibbs-ising]",
    f"{DISCRETE}::test_binary_chains_stay_in_their_law_and_arrive_in_it[gibbs-rbm]",
    f"{DISCRETE}::test_what_is_seen_stays_and_the_rest_follows_its_conditional_law[gibbs]",
)
GRADIENTS = tuple(test.replace("gibbs-", "gradients-").replace("[gibbs]", "[gradients]") for test in GIBBS)

COMPUTE = "tests/energies/test_compute.py"
ANNEALED = ("tests/energies/test_samplers.py::test_annealing_arrives_at_the_law_without_noise",)
AIS = ("tests/energies/test_importance.py::test_forward_and_reverse_estimates_bracket_the_truth",)
WARM = tuple(
    f"tests/energies/test_adaptation.py::test_{name}"
    for name in ("warm_up_reaches_its_acceptance_whatever_the_start", "after_the_warm_up_the_law_is_exact")
)
FAST = (f"{COMPUTE}::test_the_prepared_energy_is_the_same_energy",)
POSTERIOR = "tests/energies/test_posterior.py"
LAW, SCALED = f"{POSTERIOR}::test_annealed_samples_are_of", f"{POSTERIOR}::test_so_they_are_where_every_element"
LAW, SCALED = f"{LAW}_the_closed_form_posterior", f"{SCALED}_has_a_noise_of_its_own"
HELD = f"{POSTERIOR}::test_what_is_seen_exactly_is_off_by_its_noise_of_the_start_which_fades_with_the_level"
WARMED = tuple(
    f"{POSTERIOR}::test_a_warm_up_reaches_its_acceptance_at_every_level[{k}]" for k in ("mala-0.574", "hmc-0.8")
)
CLEAN_MISFIT = ("tests/energies/test_observation.py::test_a_noisy_measurement_adds_its_misfit",)
CONTRACTS = "tests/test_contracts.py"
S = "energies.samplers."
MUTANTS = (
    Mutant(S + "langevin", "drift twice as long", "(-(self.step_size**2) / 2)", "(-(self.step_size**2))", LANGEVIN),
    Mutant(S + "langevin", "drift uphill", "(-(self.step_size**2) / 2)", "(self.step_size**2 / 2)", LANGEVIN),
    Mutant(S + "langevin", "noise too large", "(self.step_size * self.noise)", "(2**0.5 * self.step_size * self.noise)", LANGEVIN),
    Mutant(S + "langevin", "stale gradient", "State(x, *gradient(energy, x)), Info", "State(x, state.energy, state.grad), Info", LANGEVIN),
    Mutant(S + "mala", "no ratio of proposals", " + kinetic_change(before, after)", "", stays("mala")),
    Mutant(S + "mala", "ratio of proposals upside down", "kinetic_change(before, after)", "kinetic_change(after, before)", stays("mala")),
    Mutant(S + "mala", "energy with the wrong sign", "proposal.energy - state.energy", "state.energy - proposal.energy", stays("mala")),
    Mutant(S + "mala", "always accept", "metropolis(state, proposal, change, rng)", "metropolis(state, proposal, change * 0, rng)", stays("mala")),
    Mutant(S + "mala", "scale forgotten in the proposal", "self.step_size, self.scale, 1)", "self.step_size, None, 1)", (f"{CONDITIONED}[averages-mala-scaled]",)),
    Mutant(S + "hmc", "no kinetic energy", " + kinetic_change(before, after)", "", stays("hmc")),
    Mutant(S + "hmc", "kinetic energy with the wrong sign", "kinetic_change(before, after)", "kinetic_change(after, before)", stays("hmc")),
    Mutant(S + "hmc", "always accept", "metropolis(state, proposal, change, rng)", "metropolis(state, proposal, change * 0, rng)", stays("hmc")),
    Mutant(S + "hmc", "momentum too large", "before = fresh(energy, state.x, self.scale, rng)", "before = 1.2 * fresh(energy, state.x, self.scale, rng)", stays("hmc")),
    Mutant(S + "state", "whole kick at the start of a leapfrog step", "x, sign = move(energy, x, momentum * step_size, scale)", "momentum = momentum - force(energy, grad, scale) * (step_size / 2)\n        x, sign = move(energy, x, momentum * step_size, scale)", stays("hmc")),
    Mutant(S + "state", "force with the wrong sign", "momentum = momentum - force(energy, grad, scale) * (step_size / 2)\n        x, sign", "momentum = momentum + force(energy, grad, scale) * (step_size / 2)\n        x, sign", (f"{MCMC}::test_the_leapfrog_is_reversible", *stays("hmc"))),
    Mutant(S + "state", "momentum not turned at a bound", "momentum = momentum * sign", "momentum = momentum", stays("hmc")),
    Mutant(S + "state", "one decision for the whole batch", "uniform(probability, rng) < probability", "(uniform(probability[:1], rng) < probability.mean()).expand_as(probability)", stays("mala")),
    Mutant(S + "state", "one random number for the whole batch", "uniform(probability, rng) < probability", "uniform(probability[:1], rng) < probability", (*stays("mala")[:1], f"{ARRIVES}[mala]")),
    Mutant(S + "state", "refusals counted as acceptances", "accepted = uniform(probability, rng) < probability", "accepted = uniform(probability, rng) >= probability", stays("mala")),
    Mutant(S + "state", "stale gradient after a refusal", "choose(proposal.grad, state.grad)", "proposal.grad", (f"{MCMC}::test_a_state_is_what_its_x_says_after_refusals",)),
    Mutant(S + "state", "stale energy after a refusal", "choose(proposal.energy, state.energy)", "proposal.energy", (f"{MCMC}::test_a_state_is_what_its_x_says_after_refusals",)),
    Mutant(S + "state", "noise off the null space", "return energy.tangent(normal(like, rng), None if scale is None else scale.to(like))", "return normal(like, rng)", (f"{MCMC}::test_scaled_langevin_given_a_measurement_has_its_known_bias[averages]",)),
    Mutant(S + "state", "force off the null space", "return energy.tangent(grad * scale, scale)", "return grad * scale", (f"{CONDITIONED}[averages-mala-scaled]",)),
    Mutant(S + "state", "one stream for every chain", "for stream in rng])", "for stream in rng[:1] * len(rng)])", (f"{MCMC}::test_with_a_stream_each_a_sample_does_not_depend_on_its_batch[mala]",)),
    Mutant(S + "underdamped", "noise too small", "math.sqrt(1 - keep**2)", "(1 - keep)", BAOAB),
    Mutant(S + "underdamped", "no second kick", "p = p + force(energy, grad, self.scale) * (-self.step_size / 2)", "p = p + 0", BAOAB),
    Mutant(S + "underdamped", "kick uphill", "* (-self.step_size / 2)\n        p = p + kick", "* (self.step_size / 2)\n        p = p + kick", BAOAB),
    Mutant(S + "underdamped", "whole drifts", "p * (self.step_size / 2)", "p * self.step_size", BAOAB),
    Mutant(S + "underdamped", "momentum drawn anew every step", "if state.momentum is None", "if True", BAOAB),
    Mutant(S + "underdamped", "friction twice", "math.exp(-self.friction * self.step_size)", "math.exp(-2 * self.friction * self.step_size)", BAOAB),
    Mutant(S + "random_walk", "always accept", "proposal.energy - state.energy, rng", "0 * proposal.energy, rng", stays("random_walk")),
    Mutant(S + "random_walk", "energy with the wrong sign", "proposal.energy - state.energy", "state.energy - proposal.energy", stays("random_walk")),
    Mutant(S + "random_walk", "a proposal that is not symmetric", "self.scale, rng) * self.step_size", "self.scale, rng) * self.step_size - 0.1 * state.x", stays("random_walk")),
    Mutant(S + "random_walk", "a temperature of 1.2", "proposal.energy - state.energy, rng", "(proposal.energy - state.energy) / 1.2, rng", stays("random_walk")),
    Mutant(S + "gibbs", "odds upside down", "< odds.sigmoid()", "> odds.sigmoid()", GIBBS),
    Mutant(S + "gibbs", "odds halved", "odds.sigmoid()", "(odds / 2).sigmoid()", GIBBS),
    Mutant(S + "gibbs", "all blocks from the old state", "energy.log_odds(x, block)", "energy.log_odds(state.x, block)", GIBBS),
    Mutant(S + "gibbs", "all elements at once", "torch.where(block.to(x.device), drawn.to(x.dtype), x)", "drawn.to(x.dtype)", GIBBS),
    Mutant(S + "gibbs", "one random number for the whole batch", "uniform(odds, rng)", "uniform(odds[:1], rng)", GIBBS),
    Mutant(S + "gradient_gibbs", "no ratio of proposals", "proposal.energy - state.energy + ratio", "proposal.energy - state.energy", GRADIENTS),
    Mutant(S + "gradient_gibbs", "ratio upside down", "+ ratio", "- ratio", GRADIENTS),
    Mutant(S + "gradient_gibbs", "always accept", "proposal.energy - state.energy + ratio", "0 * ratio", GRADIENTS),
    Mutant(S + "gradient_gibbs", "gradient of the old state on the way back", "_log_proposal(energy, proposal)", "_log_proposal(energy, proposal._replace(grad=state.grad))", GRADIENTS),
    Mutant(S + "tempering", "always swap", "< log_ratio.exp()", "< torch.ones_like(log_ratio)", (f"{JOINT}[tempering]",)),
    Mutant(S + "tempering", "swap ratio upside down", "(raw[:, low] - raw[:, low + 1])", "(raw[:, low + 1] - raw[:, low])", (f"{JOINT}[tempering]",)),
    Mutant(S + "tempering", "energies not rescaled", "factor = (betas / betas[order]).flatten()", "factor = torch.ones_like(raw).flatten()", (f"{MCMC}::test_a_state_is_what_its_x_says_after_refusals", f"{JOINT}[tempering]")),
    Mutant(S + "tempering", "one decision for the whole batch", "uniform(log_ratio, rng) < log_ratio.exp()", "(uniform(log_ratio[:1], rng) < log_ratio.exp().mean(0)).expand_as(log_ratio)", (f"{JOINT}[tempering]",)),
    Mutant(S + "tempering", "hot replicas left cold", "self.rows(energies) * energies", "energies", (f"{JOINT}[tempering]",)),
    Mutant("energies.observation", "average projected with the wrong weights", "self.observe(s * s)", "self.observe(s)", (f"{CONDITIONED}[averages-mala-scaled]",)),
    Mutant("energies.bounded", "clipped, not reflected", "torch.where(back, 2 * width - along, along)", "along", stays("hmc")[2:]),
    Mutant("energies.observation", "seen elements take the noise", "return torch.where(self.mask.to(v.device), v, 0.0)", "return v", (f"{MCMC}::test_bounds_and_seen_pixels_together", f"{CONDITIONED}[pixels-mala-plain]")),
    Mutant("energies.observation", "seen elements drift", "return torch.where(self.mask.to(x.device), x, y)", "return x", (f"{CONDITIONED}[pixels-mala-plain]",)),
    Mutant("energies.conditioned", "the inner measurement forgotten", "x = self.energy.project(x)\n", "pass\n", (f"{MCMC}::test_measurements_join_only_where_their_projections_do",)),
    Mutant("energies.bounded", "velocity not turned", "torch.where(back & ~inside, -1.0, 1.0)", "torch.where(back & ~inside, 1.0, 1.0)", stays("hmc")[2:]),
    Mutant("energies.sampling", "predictor too long", "clean + (following / level) * (state.x - clean)", "clean", ANNEALED),
    Mutant("energies.sampling", "predictor too short", "clean + (following / level) * (state.x - clean)", "clean + (1 + following / level) / 2 * (state.x - clean)", ANNEALED),
    Mutant("energies.sampling", "steps not in units of the level", "step_size=sampler.step_size * level", "step_size=sampler.step_size", (*ANNEALED, f"{LAW}[grey]")),
    Mutant("energies.sampling", "steps at no level", "range(schedule.steps if level >= schedule.down_to else 0)", "range(0)", (f"{LAW}[mixed]", f"{LAW}[grey]")),
    Mutant("energies.sampling", "Heun's slope at the wrong level", ".denoise(ahead)) / following", ".denoise(ahead)) / level", ("tests/energies/test_generators.py::test_heuns_rule_is_more_exact_than_eulers_at_equal_levels",)),
    Mutant("energies.sampling", "the last level keeps its noise", "            x = clean\n", "            x = state.x\n", (f"{HELD}[False-hidden]", f"{LAW}[hidden]")),
    Mutant("energies.sampling", "the warmed sampler is not used", "here, found = adapted(", "_, found = adapted(", WARMED),
    Mutant("energies.conditioned", "nothing held in the chain", "return self.observation.tangent(self.energy.tangent(v, scale), scale)", "return self.energy.tangent(v, scale)", (f"{HELD}[False-hidden]", f"{LAW}[hidden]")),
    Mutant("energies.conditioned", "scale forgotten by the null space", "self.observation.tangent(self.energy.tangent(v, scale), scale)", "self.observation.tangent(self.energy.tangent(v, scale))", (f"{HELD}[True-average]", f"{HELD}[True-grey]")),
    Mutant("energies.conditioned", "the expected x is off what is seen", "return self.observation.project(x, _like(self.y, x), self.scale)\n\n    def start", "return x\n\n    def start", (f"{HELD}[False-average]",)),
    Mutant("energies.conditioned", "the expected x moved by the wrong scale", "self.observation.project(x, _like(self.y, x), self.scale)\n\n    def start", "self.observation.project(x, _like(self.y, x))\n\n    def start", (f"{CONTRACTS}::test_the_expected_clean_x_is_tweedies", f"{SCALED}[average]")),
    Mutant("energies.conditioned", "x of the start is not where y is", "self.observation.project(x, _like(self.y, x), self.scale) + (self", "x + (self", (f"{HELD}[False-hidden]", f"{HELD}[False-grey]")),
    Mutant("energies.conditioned", "noisy measurement forgotten", "return self.energy(x) + self.observation.misfit(x, _like(self.y, x), self._deviation(x))", "return self.energy(x)", (f"{LAW}[noisy grey]",)),
    Mutant("energies.conditioned", "the noise of x counts for nothing", "self.observation.misfit(x, _like(self.y, x), self._deviation(x))", "self.observation.misfit(x, _like(self.y, x))", (f"{LAW}[noisy grey]", f"{LAW}[noisy blur]", f"{LAW}[noisy average]")),
    Mutant("energies.conditioned", "projected onto clean y at every level", "return x if self.level is not None else self", "return self", (f"{HELD}[False-hidden]", f"{LAW}[grey]")),
    Mutant("energies.noisy", "the noise's variance for its deviation", "carried = x.new_zeros(()) if scale is None else scale", "carried = x.new_zeros(()) if scale is None else scale**2", (f"{LAW}[noisy grey]", "tests/energies/test_observation.py::test_the_misfit_is_minus_the_log_density_of_the_measurement")),
    Mutant("energies.noisy", "clean x counted as noisy", "x.new_zeros(()) if scale is None else scale", "scale", CLEAN_MISFIT),
    Mutant("energies.stacked", "noisy parts of a stack forgotten", "return torch.stack([part.misfit(x, one, scale) for part, one in self._pairs(y)]).sum(0)", "return x.new_zeros(len(x))", (f"{LAW}[mixed]",)),
    Mutant("energies.stacked", "one exact part of a stack alone", "return super().project(x, y, scale)", "return self.parts[0].project(x, y[0], scale)", (f"{HELD}[False-stacked]", f"{LAW}[stacked]")),
    Mutant("energies.stacked", "one exact part beside what is seen", "parts[0] if len(parts) == 1 else Stacked(parts), others, scale", "parts[0], others[:1], scale", ("tests/energies/test_observation.py::test_projection_is_exact_idempotent_and_to_the_nearest",)),
    Mutant("energies.stacked", "what is seen moves with the rest", "scale = part.tangent(torch.ones_like(like) if scale is None else scale)", "pass", ("tests/energies/test_observation.py::test_seen_elements_of_a_stack_are_held_to_the_last_bit_and_what_they_hide_counts_for_nothing",)),
    Mutant("energies.conditional", "what is told is another's", "Conditioned(free, observation, y)", "free", ("tests/energies/test_conditional.py::test_what_it_is_not_told_of_is_held_all_the_same",)),
    Mutant("energies.importance", "weights of the wrong sign", "(base(x) - target(x))", "(target(x) - base(x))", AIS),
    Mutant("energies.importance", "the mean of logarithms", "float(log_weights.logsumexp(0)) - math.log(num)", "float(log_weights.mean())", AIS),
    Mutant("energies.importance", "no moves between the levels", "x = state.x", "x = x", AIS),
    Mutant("energies.importance", "reverse path forwards", "_anneal(target, base, sampler", "_anneal(base, target, sampler", AIS),
    Mutant("energies.adaptation", "acceptance the wrong way", "(self.target - acceptance", "(acceptance - self.target", WARM),
    Mutant("energies.adaptation", "the last step size, not the mean", "return math.exp(self._mean)", "return 3 * math.exp(self._mean)", WARM),
    Mutant("energies.adaptation", "variances for deviations", ".clamp(min=1e-12 * overall).sqrt()", ".clamp(min=1e-12 * overall)", WARM),
    Mutant("energies.compute", "taps in the wrong order", "out[..., q : q + num,", "out[..., pieces - 1 - q : pieces - 1 - q + num,", FAST),
    Mutant("energies.compute", "padding forgotten", "if any(self.padding):", "if False:", FAST),
    Mutant("energies.compute", "rounded energies decide", 'twin.__dict__["exact"] = _frozen(module, torch.float32, {})', "pass", (f"{COMPUTE}::test_acceptance_rests_on_exact_energies",)),
    Mutant("energies.classical.places", "differences that one mask speaks against", "if min(gains[best]) > 0 else none", "if True else none", of("flow_regression", "weights_are_the_same_everywhere_where_places_tell_nothing")),
    Mutant("energies.classical.places", "the same weights everywhere", "return local(sums, best) if", "return none if", of("flow_regression", "weights_differ_by_the_place_where_every_mask_speaks_for_it")),
    Mutant("energies.classical.places", "cells of one size", "side *= 2", "side *= 4", of("flow_regression", "large_frames_have_larger_cells")),
    Mutant("energies.boltzmann.chain", "chains from noise begin cold", "min(1.0, sweep / cooling) if cooling else 1.0", "1.0", of("boltzmann", "chains_from_noise_cool_down_into_both_hollows")),
    Mutant("energies.algebra", "what terms share is asked by each of them", "if part not in known:", "if True:", of("composition", "what_terms_share_is_asked_once_also_when_loaded")),
    Mutant("energies.references.probabilistic_pca", "the smallest components", "order = np.argsort(-values)", "order = np.argsort(values)", of("probabilistic_pca", "a_few_of_many_components_are_those_of_all")),
    Mutant("energies.classical.motion", "values at the border that are seen, not carried along", "guide[border], known[border] = propagation.shown(found.frames, hidden, found.flow, border)", "known[border] = True", of("flow", "gradients_that_are_carried_along_do_not_mind_the_light")),
    Mutant("energies.classical.smoothing", "the guide's own values", "self._seen - guide.reshape(self._seen.shape)", "self._seen", of("flow", "what_a_guide_is_off_by_all_over_does_not_count")),
    Mutant("energies.references.mirror", "the plane that agrees least", "torch.where(able, torch.stack(likely), -1.0).argmax(0)", "torch.where(able, -torch.stack(likely), -9.0).argmax(0)", of("references", "a_reference_of_shapes_shows_the_mirror_image_of_what_is_seen")),
    Mutant("energies.references.mirror", "hidden voxels are taken for empty ones", "both, either = _agreement(solid, ~mask, *plane)", "both, either = _agreement(solid, torch.ones_like(mask), *plane)", of("references", "a_reference_of_shapes_shows_the_mirror_image_of_what_is_seen")),
    Mutant("energies.classical.shrinkage", "what places disagree about is taken whole", "(share.clamp(max=1) - error)", "share.clamp(max=1)", of("inpainting", "shrinkage_falls_where_places_disagree_and_ignores_what_is_not_held_out")),
    Mutant("energies.references.dataset", "what is missed goes the other way", "near = linear + blurred(missed, 0.7)", "near = linear - blurred(missed, 0.7)", of("references", "what_the_components_miss_of_a_seen_element_goes_on_into_its_neighbours")),
    Mutant("energies.references.dataset", "the pictures nearest to its negative", "- 2 * here @ rows.T", "+ 2 * here @ rows.T", of("references", "where_elements_are_hidden_the_nearest_pictures_are_those_of_least_squares")),
    Mutant("energies.references.dataset", "a union that counts twice what both have", "seen.sum(1, keepdim=True)) / 2 - both", "seen.sum(1, keepdim=True)) / 2", of("references", "shapes_are_as_alike_as_their_intersection_over_union_where_they_are_seen"), "only the order counts, and the intersection over the sum of both volumes gives the same one"),
    Mutant("energies.references.dataset", "the least alike as measured", "topk(num, largest=False).indices for part in", "topk(num).indices for part in", of("references", "of_other_measurements_the_nearest_pictures_are_measured_the_most_alike")),
    Mutant("energies.references.local", "it sees what is hidden", "y = observation.observe(y)  # what", "pass  # what", of("references", "details_do_not_see_what_is_hidden")),
    Mutant("energies.objectives.share", "processes weigh alike whatever they have", "(last - first) / self.total if self.split else", "1 / self.num + 0.01 if self.split else", of("processes", "shares_are_all_rows_once_and_weigh_one")),
    Mutant("energies.matching", "moved away from what is seen", "change = change + each(length, x) * moved", "change = change - each(length, x) * moved", of("matching", "at_a_level_the_matched_mean_of_a_gaussian_is_exact")),
)  # fmt: skip
