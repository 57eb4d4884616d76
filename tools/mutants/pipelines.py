"""Breaks of what stages do: settings, expressions, learning, sampling, judging, and what is kept on disk."""

from __future__ import annotations

from mutants.mutant import Mutant, of

P, M, S = "pipelines.", "pipelines.measures.", "pipelines.stages."
STEPS = "training_steps"  # the file of laws that only broken lines asked for
LESSONS = "lessons"
BAND = of("recover", "the_stretch_makes_a_gaussian_band_of_the_held_out_errors")
RECOVERED = of("recover", "the_band_of_a_recovered_clip_holds_nine_of_ten_hidden_values")
WORSE = of("recover", "a_network_that_makes_it_worse_on_held_out_pixels_is_not_let_through")
SEEN = "what_is_seen_exactly_stays_in_the_mean_and_in_samples"
VALUES = of("config", "values_mean_what_their_field_says")

GATE = (
    Mutant(P + "measures.certainty", "the 90 % band by a wrong quantile", "inv_cdf((1 + BAND) / 2)", "inv_cdf(BAND)", BAND),
    Mutant(P + "measures.certainty", "the band of fewer held-out values", "int(BAND * (len(ratio) + 1)) + 1", "int(0.8 * (len(ratio) + 1)) + 1", BAND),
    Mutant(P + "sampling.gate", "the spread as it comes", "spread = wide * raw_spread", "spread = raw_spread", RECOVERED),
    Mutant(P + "sampling.gate", "the network is let through", "+ share * (whole.mean - estimate)", "+ (whole.mean - estimate)", WORSE),
    Mutant(P + "sampling.gate", "judged on what it was told", "judged = sampled(energy, judge, y", "judged = sampled(energy, context, y", WORSE),
    Mutant(P + "sampling.gate", "what is seen moves in samples", "(mean - whole.mean), seen).clamp(-1, 1)", "(mean - whole.mean), seen + 0.01).clamp(-1, 1)", of("recover", "what_is_seen_of_a_clip_never_changes[damaged]")),
)  # fmt: skip

POSTERIOR = (
    Mutant(P + "sampling.posterior", "what is seen exactly is not put back", "return observation.project(x, y) if observation.holds else x", "return x", of("recover", "any_measurement_is_taken_and_an_exact_one_held[amortised-observation0]", f"{SEEN}[images-amortised]")),
    Mutant(P + "sampling.posterior", "the mirror image's mean is not mirrored back", ".flip(list(symmetric))) / 2", ") / 2", of("recover", "the_mean_of_a_shape_is_that_of_its_mirror_image_mirrored")),
    Mutant(P + "sampling.posterior", "samples of the wrong x", "seen.rows([chain // each for chain in chains])", "seen.rows([chain % seen.num for chain in chains])", of("recover", "samples_of_one_x_stand_in_a_row_and_differ[encoder]")),
    Mutant(P + "sampling.posterior", "means over the wrong chains", "ends.unflatten(0, (seen.num, how.mean.chains)).mean(1)", "ends.unflatten(0, (how.mean.chains, seen.num)).mean(0)", of("gate", "the_mean_of_each_x_is_over_its_own_chains")),
    Mutant(P + "sampling.posterior", "no steps of a sampler at the levels", "steps=generator.steps or STEPS", "steps=generator.steps", of("gate", "a_conditioned_energy_is_sampled_with_steps_at_every_level")),
    Mutant(P + "sampling.masked", "samples of the wrong x", "rows = [chain // each for chain in chains]", "rows = [chain % len(x) for chain in chains]", of("recover", "samples_of_one_x_stand_in_a_row_and_differ[amortised]")),
    Mutant(P + "sampling.masked", "remasking forgets what is seen", "unknown & (torch.stack(chance) > KEPT)", "torch.stack(chance) > KEPT", of("recover", f"{SEEN}[voxels-amortised]")),
    Mutant(P + "sampling.masked", "remasking keeps what it should forget", "(torch.stack(chance) > KEPT)", "(torch.stack(chance) < KEPT)", of("gate", "remasking_keeps_the_share_that_it_says")),
    Mutant(P + "sampling.masked", "one stream for all samples", "for stream in streams]\n        mean", "for stream in streams[:1] * len(streams)]\n        mean", of("gate", "remasking_keeps_the_share_that_it_says")),
    Mutant(P + "sampling.generation", "labels do not take turns", "torch.arange(num) % known", "torch.arange(num) * 0", of("synthesize", "labels_take_turns_and_guidance_insists_on_them")),
    Mutant(P + "sampling.generation", "guidance has no say", "energy.guided(labels[chains].to(device), guidance)", "energy.guided(labels[chains].to(device), 1.0)", of("synthesize", "labels_take_turns_and_guidance_insists_on_them")),
    Mutant(P + "sampling.generation", "one part of a mixture alone", "part, generator, own, None, run", "parts[0], generator, own, None, run", of("compose", "samples_of_a_mixture_are_of_its_parts_in_turns")),
    Mutant(P + "sampling.generation", "calm steps are not counted", "generator.steps + generator.calm + 1", "generator.steps + 1", of("generation", "the_number_of_steps_is_known_beforehand")),
    Mutant(P + "sampling.chains", "chains that diverged pass", "if not samples.isfinite().all():", "if False:", of("gate", "chains_that_diverge_are_told")),
    Mutant(S + "refine", "refined from what was decided", 'values["samples"] if values.get("soft") is None else values["soft"]', 'values["samples"]', of("refine", "block_means_of_samples_are_held[encoder]")),
    Mutant(S + "select", "those that fall apart are kept", "sound, stand = shares >= self.whole,", "sound, stand = shares <= self.whole,", of("refine", "shapes_that_fall_apart_are_rejected_and_the_closest_stays_where_all_do")),
    Mutant(S + "select", "those that fall over are kept", "sound = sound & stand", "pass", of("refine", "shapes_that_fall_apart_are_rejected_and_the_closest_stays_where_all_do")),
    Mutant(S + "select", "soft samples of others", "None if x is None else x[kept]", 'None if x is None else x[kept] if name != "soft" else x[: len(kept)]', of("refine", "shapes_that_fall_apart_are_rejected_and_the_closest_stays_where_all_do")),
    Mutant(S + "reconstruct", "noise that is no noise", "rows.pow(4).mean()", "rows.pow(2).mean()", of("reconstruct", "noise_is_told_from_what_is_none")),
    Mutant(S + "recover", "a prior takes its place", '"recovered": next(iter(ways.values()))["mean"],', '"recovered": list(ways.values())[-1]["mean"],', of("recover", "a_prior_stands_beside_and_changes_nothing")),
)  # fmt: skip

TRAINING = (
    Mutant(P + "learning.training", "the average without its warm-up", "min(self.training.optimizer.average, (number + 1) / (number + 11))", "self.training.optimizer.average", of(STEPS, "the_average_forgets_the_first_weights_at_first")),
    Mutant(P + "learning.training", "the last weights, not their average", "result.load_state_dict(learner.average, strict=False)", "pass", of(STEPS, "the_average_forgets_the_first_weights_at_first")),
    Mutant(P + "learning.training", "no warm-up of the rate", "rise = min(1.0, (step + 1) / max(self.optimizer.warmup, 1))", "rise = 1.0", of(STEPS, "the_rate_rises_and_falls_as_a_cosine")),
    Mutant(P + "learning.training", "the rate does not fall", "math.cos(math.pi * step / self.steps)", "math.cos(0.0 * step)", of(STEPS, "the_rate_rises_and_falls_as_a_cosine")),
    Mutant(P + "learning.training", "gradients are not clipped", "self.training.optimizer.clip))", "1e9))", of(STEPS, "no_gradient_is_longer_than_the_clip")),
    Mutant(P + "learning.training", "steps as large after a return", "* SLOWER**self.rollbacks", "", of("health", "it_goes_on_from_where_it_was_healthy_with_smaller_steps")),
    Mutant(P + "learning.training", "a return that restores nothing", "        self._restore(tensors, meta)\n        self.rollbacks += 1", "        self.rollbacks += 1", of("health", "it_goes_on_from_where_it_was_healthy_with_smaller_steps")),
    Mutant(P + "learning.training", "chains begin anew after an interruption", 'chain.copy_(tensors[f"chain.{name}"])', "pass", of("training", "resumed_training_equals_uninterrupted_training_bit_for_bit[5-Likelihood]")),
    Mutant(P + "learning.training", "the optimizer forgets after an interruption", "self.optimizer.state[parameter] = state", "self.optimizer.state[parameter] = {}", of("training", "resumed_training_equals_uninterrupted_training_bit_for_bit[5-Denoise]")),
    Mutant(P + "learning.lessons", "references know the x that they are shown", "[reference(x[fold != k]) for k in range(folds)]", "[reference(x) for k in range(folds)]", of("learn", "no_x_is_seen_by_a_reference_that_remembers_it")),
    Mutant(P + "learning.lessons", "most labels are forgotten", "device=rng.device) < UNLABELLED", "device=rng.device) > UNLABELLED", of("learn", "classes_are_learned_where_there_are_labels_unless_they_are_not_wanted")),
    Mutant(P + "learning.lessons", "what it remembers may judge it", "seen > len(validation) / 20", "seen > len(validation)", of("learn", "an_energy_that_remembers_what_is_to_be_judged_by_is_refused")),
    Mutant(P + "learning.lessons", "all tasks as often", "for _ in range(task.share)", "for _ in range(1)", of(LESSONS, "tasks_come_as_often_as_they_should_and_no_lesson_twice")),
    Mutant(P + "learning.lessons", "the same lessons again and again", "self._make(number * ROUND + turn)", "self._make(turn)", of(LESSONS, "tasks_come_as_often_as_they_should_and_no_lesson_twice")),
    Mutant(P + "learning.lessons", "one mask for all", "torch.stack([make(rng) for _ in x])", "torch.stack([make(rng)] * len(x))", of(LESSONS, "every_x_has_a_mask_of_its_own")),
    Mutant(P + "learning.recipe", "the rate of another optimizer", "RATES[optimizer.method] / RATES[recipe.optimizer.method]", "RATES[recipe.optimizer.method] / RATES[optimizer.method]", of("learn", "weights_are_found_as_suits_but_for_what_is_said")),
    Mutant(P + "learning.recipe", "sampled as no modality was measured", "self.noisy.get(way, Schedule()) if noisy", "Schedule() if noisy", of("learn", "an_energy_that_was_learned_before_is_taken_with_how_it_is_sampled[voxels]")),
    Mutant(P + "learning.dataset", "learning that never gets on", "progress=step / recipe.steps", "progress=0.0", of(LESSONS, "an_objective_is_told_how_far_learning_is_and_shapes_are_mirrored")),
    Mutant(P + "learning.dataset", "no mirror images", "vary = varied if isinstance(recipe.energy, Encoder | Boltzmann | HelmholtzMachine) else lambda x, rng: x", "vary = lambda x, rng: x", of(LESSONS, "an_objective_is_told_how_far_learning_is_and_shapes_are_mirrored")),
    Mutant(P + "learning.dataset", "references by no weights", "rows = drawn(num, weights, rng)", "rows = drawn(num, None, rng)", of("learn", "references_are_drawn_by_their_weights")),
    Mutant(P + "learning.dataset", "labels of other references", "None if labels is None else labels[rows].to(device))\n", "None if labels is None else labels[:num].to(device))\n", of("learn", "references_are_of_the_pictures_and_their_labels_and_no_more_than_may_be[3]")),
    Mutant(P + "learning.dataset", "levels that see padding", "min(shape[1:]) / COARSEST", "max(shape[1:])", of("learn", "small_x_have_places_for_fewer_levels")),
    Mutant(P + "windows.restoration", "the truth that judges is learned from", "(lesson.held_out & ~judged.get(lesson.piece, nothing))[None, None]", "lesson.held_out[None, None]", of("learn_single", "the_truth_that_judges_is_never_learned_from")),
    Mutant(P + "windows.scoring", "errors in units of x", '"mae": 127.5 * error', '"mae": error', of("footage", "its_scores_are_those_of_a_clip_that_is_held")),
    Mutant(P + "windows.scoring", "the band of the values before", "first[:, own], spread[:, own]", "first[:, own - 1], spread[:, own]", of("footage", "its_scores_are_those_of_a_clip_that_is_held")),
    Mutant(P + "windows.damage", "values of the pixel before", "values[:, self.numbers_of(frame)]", "values[:, self.numbers_of(frame) - 1]", of("windows", "values_of_hidden_pixels_are_found_by_their_numbers")),
    Mutant(P + "windows.plan", "windows end at a stroke", "ramps.append(far / (more + 1))", "ramps.append(torch.ones_like(far))", of("windows", "windows_that_disagree_meet_gradually")),
    Mutant(P + "windows.plan", "windows of all that lies between", "first + second < WORTH * volume", "False", of("windows", "the_volume_of_windows_grows_as_the_damage_does")),
    Mutant(P + "modalities.video.export", "what was not hidden is coloured", "done = damage.pasted(picture, t, recovered)", "done = 255 - damage.pasted(picture, t, recovered)", of("footage", "what_was_not_hidden_is_written_bit_for_bit_with_its_times")),
    Mutant(P + "learning.clip", "what is hidden is read", "torch.where(hidden, 0.0, measured[0])", "measured[0]", of("learn_single", "what_is_seen_of_a_clip_is_zero_where_it_is_hidden")),
    Mutant(P + "learning.crops", "no crop of the last row", "size - side + 1 for size, side", "size - side for size, side", of("learn_single", "crops_are_places_of_the_photograph_and_every_one_comes_up")),
    Mutant(P + "learning.single", "variances for deviations", "scale = variance.sqrt()", "scale = variance", of(LESSONS, "a_scene_is_its_mean_picture_and_how_far_it_moves_from_it")),
)  # fmt: skip

PRIOR = of("compose", "what_labels_say_is_added_to_one_prior")
NONE_IS = of("expression", "a_contradiction_is_what_no_x_satisfies", "what_something_can_be_is_no_contradiction")
PRECEDENCE = of("expression", "precedence", "flattening_and_canonical_text")
HOLDS = of("compose", "what_holds_of_an_expression")
COMPOSITION = (
    Mutant(P + "composition.composing", "p(x) as often as there are experts", "1 / max(len(self.prior), 1)", "1.0", PRIOR),
    Mutant(P + "composition.composing", "concepts take p(x) away once alone", "(-self.strength, energy),\n        }", "(-1.0, energy),\n        }", PRIOR),
    Mutant(P + "composition.composing", "weights of sums are lost", "before + weight * w, energy", "before + w, energy", of("compose", "what_is_subtracted_pushes_away")),
    Mutant(P + "composition.composing", "labels of one expert stay apart", "key = part.name if isinstance(part, Expert) and part.label is not None else part", "key = part", of("compose", "not_of_two_labels_is_any_of_the_labels_that_are_left")),
    Mutant(P + "stages.score", "a sure classifier doubts nothing", "(others.logsumexp(1) - logits.double().logsumexp(1)).float()", "(1 - logits.softmax(1).amax(1)).log()", of("certainty", "what_a_sure_classifier_doubts_is_still_told_apart")),
    Mutant(P + "composition.composing", "not is any of all labels", "for label in known[0] if label not in wrong]", "for label in known[0]]", of("compose", "not_is_any_of_the_other_labels")),
    Mutant(P + "composition.composing", "one combination a sample, at another strength", "terms[(name, None)] = -self.strength, energy", "terms[(name, None)] = -1.0, energy", of("compose", "one_combination_a_sample_is_what_each_is_alone")),
    Mutant(P + "composition.balancing", "mixtures are not balanced", "counted.offsets.tolist()", "(0 * counted.offsets).tolist()", of("compose", "parts_that_do_not_overlap_are_balanced_by_how_deep_they_lie_beside_the_prior")),
    Mutant(P + "composition.expression", "minus binds less than plus", '"-": 3', '"-": 2', PRECEDENCE),
    Mutant(P + "composition.expression", "to divide is to multiply", "weight / number if sign.kind", "weight * number if sign.kind", PRECEDENCE),
    Mutant(P + "composition.expression", "twice not is not", "value = value.part if isinstance(value, Not) else Not(", "value = value if isinstance(value, Not) else Not(", PRECEDENCE),
    Mutant(P + "composition.expression", "what is subtracted is asked for", "for weight, part in node.terms if weight > 0]", "for weight, part in node.terms]", NONE_IS),
    Mutant(P + "composition.expression", "all of what either asks for", "isinstance(node, AnyOf) is holds", "isinstance(node, AnyOf) is not holds", NONE_IS),
    Mutant(M + "attributes", "one of what was asked for is all", "torch.stack(parts).all(0) if parts", "torch.stack(parts).any(0) if parts", HOLDS),
    Mutant(M + "attributes", "not is as it stands", "return ~self.holds(node.part, labels, num, not untold)", "return self.holds(node.part, labels, num, not untold)", HOLDS),
)  # fmt: skip

KEPT = "an_interruption_anywhere_leaves_the_old_or_the_new"
PIPELINE = (
    Mutant(P + "config", "the file wins over the command line", "for key in below or chosen}", "for key in chosen or below}", VALUES),
    Mutant(P + "config", "what is not stated is not what was", "cls(**fields) if start is None else dataclasses.replace(start, **fields)", "cls(**fields)", VALUES),
    Mutant(P + "config", "false is true", '{"true": True, "false": False}', '{"true": True, "false": True}', of("schema", "false_is_false")),
    Mutant(P + "config", "text where a number may stand", "for option in (bool, int, float, *kinds)", "for option in (str, *kinds)", VALUES),
    Mutant(P + "schema", "settings that a class inherits are lost", "found |= base.fields if base.is_dataclass else {}", "pass", of("schema", "inherited_fields_are_settings_and_needs_are_none")),
    Mutant(P + "schema", "needs and gives are settings", 'not {"ClassVar", "Tensor"} & names', 'not {"Tensor"} & names', of("schema", "inherited_fields_are_settings_and_needs_are_none")),
    Mutant(P + "store", "what came before decides nothing", '(begun["asked"], begun["read"]) == (self.asked, self.read)', 'begun["asked"] == self.asked', of("pipeline", "stages_after_one_that_now_gives_something_else_are_done_again")),
    Mutant(P + "inputs", "changed input files pass", 'checkpoint.signature(path)["sha256"] == before["sha256"]', "True", of("pipeline", "a_changed_input_file_is_noticed")),
    Mutant(P + "run_folder", "the old result is lost where the new one fails", "    if failed:\n", "    if not failed:\n", of("pipeline", "a_last_stage_that_fails_when_it_is_done_anew_leaves_its_old_result_whole")),
    Mutant(P + "origins", "the source of one's own stages decides nothing", "digest = hashlib.sha256(file.read_bytes())", "digest = hashlib.sha256()", of("own_parts", "a_changed_source_makes_its_stages_anew_and_only_them")),
    Mutant(P + "checkpoint", "damage of the same length passes", "lambda path, expected: signature(path) == expected)", 'lambda path, expected: signature(path)["size"] == expected["size"])', of("checkpoint", "a_damaged_checkpoint_is_none[flip-meta.json]")),
    Mutant(P + "checkpoint", "the old one goes before the new one is there", "    fill(new, write)\n    _take_place(new, folder)", "    shutil.rmtree(folder, ignore_errors=True)\n    fill(new, write)\n    _take_place(new, folder)", of("checkpoint", KEPT)),
    Mutant(P + "checkpoint", "what lies beside is not looked for", 'places = (_beside(folder, "new"), folder, _before(folder))', "places = (folder, folder, folder)", of("checkpoint", KEPT)),
    Mutant(P + "store", "a result is taken whatever it was made of", "_digest([asked, read, code(), form(run)])", "_digest([asked, code(), form(run)])", of("store", "a_data_set_that_is_another_by_the_same_settings_is_another_value")),
    Mutant(P + "store", "store=off takes", 'if wanted.key is None or run.store == "off":', "if wanted.key is None:", of("store", "a_result_is_taken_from_a_run_beside_and_said_and_is_as_if_it_were_made")),
    Mutant(P + "checkpoint", "a damaged result is taken", "if whole := verify(new):", "if whole := _has_sizes(new):", of("store", "a_run_that_goes_on_and_a_damaged_one_are_passed_over")),
    Mutant(P + "checkpoint", "what is taken in part is left", "    finally:\n        shutil.rmtree(new, ignore_errors=True)\n\n\ndef _link", "    finally:\n        pass\n\n\ndef _link", of("store", "what_is_taken_is_whole_or_not_there")),
    Mutant(P + "run_folder", "what other code began is given to others", "<= {BEGUN} else None, wanted, known)", "<= {BEGUN} else wanted.key, wanted, known)", of("store", "what_other_code_began_goes_on_but_is_taken_by_nobody")),
    Mutant(P + "stage", "a stage is handed what it says not to read", "return {name: values[name] for name in reads(stage, values)}", "return handed(stage, values)", of("store", "what_a_stage_does_not_read_does_not_count_and_is_not_handed_to_it")),
    Mutant(P + "making", "first weights by chance", "torch.manual_seed(run._number([trees.snake(type(stage).__name__)]))", "pass", of("pipeline", "an_interrupted_run_ends_bit_for_bit_like_an_uninterrupted_one[0]")),
    Mutant(P + "stage", "stages see all values", "return {name: values[name] for name in names if name in values}", "return values", of("pipeline", "a_stage_is_handed_what_it_needs_and_takes_and_nothing_else")),
    Mutant(P + "stage", "the seed decides nothing", "json.dumps([self.seed, *key])", "json.dumps([*key])", of("pipeline", "streams_of_randomness_depend_on_seed_and_key_only")),
    Mutant(P + "learning.processes", "one of two processes runs alone", '"WORLD_SIZE" not in os.environ', '"WORLD_SIZE" in os.environ', of("pipeline", "a_launcher_that_starts_one_process_of_several_is_refused")),
    Mutant(P + "progress", "an inner loop is no part of the outer", "(loop.done + inside) / loop.total", "(loop.done + 1) / loop.total", of("progress", "a_loop_inside_of_another_is_a_part_of_it")),
    Mutant(P + "progress", "the time that is left is what has passed", "* (1 - share) / share, 1)", ", 1)", of("progress", "a_line_every_ten_seconds_tells_how_much_time_is_left")),
)  # fmt: skip

OFFSET = of("metrics", "constant_offset_has_known_scores_and_known_pixels_do_not_count")
ECE = of("certainty", "the_calibration_error_of_a_few_answers_is_known")
NUMBERS = of("evaluate", "every_recovery_has_the_same_numbers_whatever_the_modality[images]")
MADE = of("evaluate", "what_was_learned_from_is_no_new_shape_and_noise_is_no_picture")
LAWS = "judging"
MEASURES = (
    Mutant(M + "metrics", "another peak of PSNR", "10 * math.log10(4 / mse)", "10 * math.log10(1 / mse)", OFFSET),
    Mutant(M + "metrics", "what is seen counts", "estimate[:, hidden].double() - truth[:, hidden].double()", "(estimate - truth).double().flatten(1)", OFFSET),
    Mutant(M + "metrics", "the wrong range of SSIM", "data_range=2.0", "data_range=1.0", of("metrics", "ssim_equals_scikit_image_at_the_hidden_pixels")),
    Mutant(M + "metrics", "time and space in turn", '"vertical": _mean_difference(levels, 2)', '"vertical": _mean_difference(levels, 3)', of("metrics", "statistics_of_a_ramp")),
    Mutant(M + "certainty", "the band of one standard deviation", "<= WIDTH * spread.double()", "<= spread.double()", of("evaluate", "the_band_holds_nine_of_ten_values_where_the_spread_is_right[video]")),
    Mutant(M + "recovery", "the worst baseline is the best", "best = max(rivals, key=lambda rival: found", "best = min(rivals, key=lambda rival: found", NUMBERS),
    Mutant(M + "recovery", "samples against another's truth", 'samples[:: values["sampling"]["chains"]]', 'samples[: len(samples) // values["sampling"]["chains"]]', of("evaluate", "samples_of_each_x_are_scored_against_the_right_one")),
    Mutant(M + "synthesis", "real shapes are compared with themselves", "solids.collection(train[-num:], train[:-num], validation)", "solids.collection(train[-num:], train, validation)", MADE),
    Mutant(M + "synthesis", "real pictures are compared with themselves", "_nearest(self.real, known)", '_nearest(features["real"], known)', of(LAWS, "pictures_to_judge_by_are_as_far_from_those_to_learn_from_as_new_ones_may_be")),
    Mutant(M + "solids", "a speck on the ground holds a shape up", "labels == 1 + np.argmax(sizes[1:])", "labels > 0", of("solids", "what_leans_too_far_falls")),
    Mutant(M + "visible", "flicker along no motion", "flow.sampled(frame, way) for frame, way", "frame for frame, way", of("visible", "grain_of_every_frame_flickers_and_what_moves_with_the_truth_does_not")),
    Mutant(M + "solids", "what is left out costs nothing", "inside / (count + inside[-1] - inside)", "inside / count", of("modality_voxels", "the_likeliest_solid_maximises_the_expected_overlap")),
    Mutant(M + "solids", "all voxels count", "((solid | truth) & where)", "(solid | truth)", of("solids", "overlap_counts_only_where_it_should")),
    Mutant(M + "solids", "a shape is nearest to itself", "found.fill_diagonal_(2.0)", "pass", of("solids", "two_collections_of_one_law_cannot_be_told_apart")),
    Mutant(M + "solids", "all parts are the largest", "inside.max() / inside.sum()", "inside.sum() / inside.sum()", of("solids", "specks_are_no_part_of_a_whole")),
    Mutant(M + "certainty", "errors of bins cancel", "(hit - confidence).abs().sum()", "(hit - confidence).sum().abs()", ECE),
    Mutant(M + "certainty", "the threshold of 90 %", "math.ceil(0.95 * len(inside))", "math.ceil(0.9 * len(inside))", of("certainty", "the_false_positives_are_counted_where_exactly_95_percent_pass")),
    Mutant(M + "classes", "one noise level alone", ".softmax(1) for member in members]).mean(0)", ".softmax(1) for member in members])[0]", of("certainty", "classes_of_a_family_are_the_mean_of_those_at_its_levels")),
    Mutant(M + "judge", "half of the overlap", "- 2 * mixed)", "- mixed)", of(LAWS, "the_frechet_distance_of_gaussians_is_known")),
    Mutant(M + "judge", "precision for recall", "return within(samples, real), within(real, samples)", "return within(real, samples), within(samples, real)", of(LAWS, "precision_falls_with_strangers_and_recall_with_what_is_missing")),
    Mutant(M + "baselines.pictures", "what is seen is not kept", "(observation.project(x, y) if observation.holds else x).clamp(-1, 1)", "x.clamp(-1, 1)", of("baselines", "baselines_of_pictures_hold_what_is_seen_and_find_a_picture_that_was_learned_from")),
    Mutant(M + "baselines.pictures", "deviation for variance", "gain = noise**2 / variance", "gain = noise / variance", of("baselines", "wieners_filter_of_noise_shrinks_towards_the_mean_picture")),
    Mutant(M + "paths", "paths by their largest step", '"length": float((length / ends).mean())', '"length": float((largest / ends).mean())', of("interpolate", "a_straight_way_in_even_steps_has_length_one")),
    Mutant(S + "attack", "a ball twice as large", "change = change.clamp(-size, size)", "change = change.clamp(-2 * size, 2 * size)", of("certainty", "an_attack_stays_in_its_ball_and_within_the_range_and_raises_the_loss")),
    Mutant(S + "score", "margins with the wrong sign", "logits.mean(1) - logits.logsumexp(1)", "logits.logsumexp(1) - logits.mean(1)", of("certainty", "margins_forget_what_all_classes_share_and_scores_are_standard_over_the_reference")),
)  # fmt: skip

IMAGES, VIDEO, VOXELS = (f"pipelines.modalities.{name}." for name in ("images", "video", "voxels"))
PARTED = of("load_images", "pictures_are_parted_the_same_in_every_run_and_none_is_on_both_sides")
MODALITIES = (
    Mutant(IMAGES + "load", "what judges was learned from", "order[num:], order[:num])", "order, order[:num])", PARTED),
    Mutant(IMAGES + "load", "another split for every seed", "generator=torch.Generator().manual_seed(0))[: self.count]", "generator=torch.Generator().manual_seed(run.seed))[: self.count]", PARTED),
    Mutant("data.masks", "a mask hides what is black", "(255 - self.levels if invert else self.levels) > self.noise", "(255 - self.levels if invert else self.levels) <= self.noise", of("hide", "a_damaged_picture_is_unknown_where_its_mask_is_white")),
    Mutant(IMAGES + "hide", "a damaged picture is its truth", "known = self.image is None or not (own_measured or self.mask)", "known = True", of("hide", "a_damaged_picture_is_unknown_where_its_mask_is_white")),
    Mutant("pipelines.modalities.views", "the share that is seen is hidden", "torch.rand(1, *size, generator=rng) < share", "torch.rand(1, *size, generator=rng) > share", of("hide", "pixels_hide_their_share_and_a_box_is_a_square_in_all_frames[images]")),
    Mutant("pipelines.modalities.views", "frames are averaged, too", "Average((*[1] * (axes - 2), average, average))", "Average((average,) * axes)", of("hide", "only_the_means_of_blocks_are_seen[2-video]")),
    Mutant("pipelines.modalities.views", "the first frame may be hidden", "[:hidden] + 1)", "[:hidden])", of("hide", "frames_are_scattered_between_the_first_and_the_last_of_each_clip")),
    Mutant("pipelines.modalities.views", "always the noise of a blur", "noise or BLUR_NOISE", "BLUR_NOISE", of("hide", "colours_are_taken_and_blurs_and_noise_added[images]")),
    Mutant(VIDEO + "load", "clips of one video on both sides", "aside = torch.isin(origin, order[: max(1, math.floor(len(order) * self.validation))])", "aside = torch.arange(len(origin)) < len(origin) * self.validation", of("load_video", "a_video_is_on_one_side_and_a_class_without_clips_is_told")),
    Mutant(VOXELS + "load", "labels of other shapes", 'labels[rows["train"]]', 'labels[: len(rows["train"])]', of("load_voxels", "labels_stay_with_their_shapes")),
    Mutant(VOXELS + "load", "shapes to judge by are like those learned from", 'return {"train": train, "validation": validation}', 'return {"train": np.concatenate([train, validation]), "validation": validation}', of("load_voxels", "no_shape_to_judge_by_is_nearly_one_that_was_learned_from")),
    Mutant(VOXELS + "hide", "always the lower half", "slice(middle, side) if end else slice(0, middle)", "slice(0, middle)", of("hide_voxels", "masks_hide_their_share"), ),
    Mutant(VOXELS + "modality", "the least likely voxels of a block", "descending=True, stable=True", "descending=False, stable=True", of("modality_voxels", "blocks_hold_as_many_voxels_as_was_measured_and_the_likeliest")),
    Mutant(VOXELS + "modality", "means are cut at 0", "solids.likeliest(soft) if is_noisy(energy) else soft > 0", "soft > 0", of("judging", "samples_of_noisy_energies_are_near_to_means_and_become_the_likeliest_solids")),
    Mutant(VOXELS + "modality", "shapes upside down are as good", "x.flip(2), x)", "x.flip(4), x)", of("modality_voxels", "mirror_images_are_as_good")),
    Mutant(VOXELS + "modality", "what is seen is decided anew", "torch.where(where, mean, y.float()), where))", "mean))", of("modality_voxels", "a_mean_is_decided_on_where_it_is_not_known")),
    Mutant(P + "report.report", "text is not escaped", "autoescape=True", "autoescape=False", of("report", "everything_is_escaped_and_closed")),
    Mutant(P + "report.curves", "labels of curves are not escaped", "return escape(", "return str(", of("curves", "labels_of_curves_are_escaped")),
    Mutant(P + "report.report", "the worst in bold", '(max if best == "max" else min)', '(min if best == "max" else max)', of("report", "a_table_sets_the_best_in_bold_and_numbers_alike")),
    Mutant(P + "examples", "unlabelled x have the first label", "(labels >= 0).nonzero()", "(labels >= -1).nonzero()", of("examples", "only_what_is_labelled_is_known")),
    Mutant(P + "examples", "levels are cut, not rounded", "* 127.5).round().to(torch.uint8)", "* 127.5).to(torch.uint8)", of("examples", "levels_come_back_to_half_a_level")),
)  # fmt: skip

UNIMPORTED = (
    Mutant(P + "unimported", "what is absent is true", "__bool__ = __len__ = __iter__", "__iter__", of("unimported", "what_needs_no_library_is_worked_out_and_the_rest_is_unknown")),
    Mutant(P + "unimported", "modules of one's own are run", "        if cls.module.name.partition(\".\")[0] not in OURS:", "        if False:", of("unimported", "a_class_of_ones_own_is_not_made_before_it_is_imported")),
)  # fmt: skip

FURTHER = (
    Mutant(P + "learning.further", "an amortised energy begins anew", "        fresh.net.load_state_dict(ready.net.state_dict())\n", "", of("further", "it_starts_from_the_weights_that_it_is_given[amortised]")),
    Mutant(P + "learning.further", "further learning is as fast as learning", "SLOWER if slower", "1.0 if slower", of("further", "its_rate_is_a_tenth_where_none_is_said")),
    Mutant(P + "learning.further", "the kind of objective may change", "    if noisy != isinstance", "    if False and noisy != isinstance", of("further", "what_cannot_learn_further_is_refused_in_one_line")),
    Mutant(S + "learn", "none is the name of a folder", "None if self.pretrained == ANEW else self.pretrained", "self.pretrained", of("further", "none_means_to_learn_anew")),
    Mutant("energies.hub", "the hub comes before folders", " and not Path(source).exists()", "", of("hub", "a_folder_wins_over_the_hub_and_a_path_is_always_one")),
    Mutant("energies.compact", "means are rounded as weights are", "name in weights and ", "", of("compact", "numbers_of_other_kinds_are_left_alone")),
    Mutant("energies.compact", "a row of zeros has no unit", ".clamp(min=torch.finfo(torch.float32).tiny)", "", of("compact", "rows_of_zeros_and_of_tiny_numbers_come_back_finite")),
)  # fmt: skip

LAW = "what_is_twice_as_large_takes_twice_as_long_where_it_is_large"
FORECAST = (
    Mutant(P + "cost", "a step takes nothing besides", 'DEEP if "network" in at_once else LITTLE', "0.0", of("cost", LAW)),
    Mutant(P + "cost", "all samples are drawn at once", "min(now, TOGETHER) / min(then, TOGETHER)", "now / then", of("cost", LAW)),
    Mutant(P + "cost", "what was learned of another modality", '(each.stage, each.anew, each.sizes["modality"]) == asked', "(each.stage, each.anew) == asked[:2]", of("cost", "it_takes_what_the_stage_most_like_it_took")),
    Mutant(P + "sizes", "all of a clip is recovered", "observation.noiseless.mask.float().mean()", "1.0", of("cost", "of_a_photograph_crops_are_learned_and_of_a_clip_what_is_hidden_is_recovered")),
    Mutant(P + "making", "results of other runs are made again", "wanted.given(entry.folder), ANOTHER", "wanted.given(entry.folder), None", of("store", "the_forecast_leaves_out_what_will_be_taken")),
    Mutant(P + "pipeline", "nothing is known ahead of learning", "stage.ahead(handing) if is_next else {}", "{}", of("learn", "what_does_not_suit_the_energy_is_refused_before_it_learns")),
)  # fmt: skip

MUTANTS = (
    *FORECAST,
    *UNIMPORTED,
    *FURTHER,
    *GATE,
    *POSTERIOR,
    *TRAINING,
    *COMPOSITION,
    *PIPELINE,
    *MEASURES,
    *MODALITIES,
)
