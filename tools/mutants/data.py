"""Breaks of what is read, made and written: colours, sizes, masks, scenes, meshes, near-twins."""

from __future__ import annotations

from mutants.mutant import Mutant, of

PICTURES = "reading"
MESH = of("meshes", "any_field_gives_a_watertight_mesh_with_the_parts_of_the_grid")
MUTANTS = (
    Mutant("data.pictures", "grey as the mean of the colours", "LUMA = (0.299, 0.587, 0.114)", "LUMA = (1 / 3, 1 / 3, 1 / 3)", of(PICTURES, "grey_is_the_luma_and_the_middle_is_cut_out")),
    Mutant("data.pictures", "transparent is black", 'Image.new("RGBA", rgba.size, "white")', 'Image.new("RGBA", rgba.size, "black")', of(PICTURES, "what_is_transparent_shows_white")),
    Mutant("data.frames", "the corner, not the middle", "low = (length - span) / 2", "low = 0.0", of(PICTURES, "grey_is_the_luma_and_the_middle_is_cut_out")),
    Mutant("data.frames", "pixels are picked, not averaged", "    if step >= 1:\n", "    if False:\n", of(PICTURES, "grey_is_the_luma_and_the_middle_is_cut_out")),
    Mutant("data.masks", "little damage is none", "[0] > LEAST", "[0] > 0.9", of(PICTURES, "a_pixel_of_a_mask_is_hidden_if_any_of_it_is")),
    Mutant("data.times", "one rate for all frames", "time if time > last else last + self._usual / 2", "last + self._usual", of("load_video", "the_source_tells_the_time_of_every_frame")),
    Mutant("data.upright", "mirrors stay", ":: -1 if a < 0 else 1", "::1", of("video_files", "every_display_matrix_is_undone")),
    Mutant("data.near_duplicates", "mirror images are others", "np.maximum(part @ rows.T, part @ mirrored.T)", "part @ rows.T", of("near_duplicates", "twins_and_mirror_images_share_a_group")),
    Mutant("data.near_duplicates", "twins on both sides", "chosen = np.isin(numbers, order[:num])", "chosen = np.arange(len(numbers)) >= len(numbers) - num", of("near_duplicates", "no_near_twin_is_on_both_sides_of_a_split")),
    Mutant("data.closing", "only what is quite unsure is closed bent", "UNSURE = 0.15", "UNSURE = 0.4", of("winding", "a_curved_end_that_is_gone_is_closed_as_one")),
    Mutant("data.closing", "splines need not agree", "APART = 0.12", "APART = 1.1", of("winding", "among_thin_parts_nothing_bulges[chair-0.35]")),
    Mutant("data.closing", "thin parts are thick", "BEHIND = 0.8", "BEHIND = 0.0", of("winding", "among_thin_parts_nothing_bulges[shelf-0.3]")),
    Mutant("data.meshes", "open where the grid ends", "field = np.pad(field, 1, constant_values=-1.0)", "field = np.pad(field, 1, mode='edge')", MESH),
    Mutant("data.meshes", "half a voxel off", "vertices.astype(np.float64) - 0.5", "vertices.astype(np.float64) - 1.0", of("meshes", "the_surface_passes_half_way_between_inside_and_outside")),
    Mutant("data.meshes", "open edges are not counted", "return int(counts.sum() - np.count_nonzero(", "return int(0 * np.count_nonzero(", of("meshes", "open_edges")),
    Mutant("data.meshes", "smoothing shrinks", "for factor in (0.5, -0.53):", "for factor in (0.5, 0.0):", of("smoothing", "smoothing_keeps_the_volume")),
    Mutant("data.meshes", "cavities stay open", "return (free != free[0, 0, 0])[1:-1, 1:-1, 1:-1]", "return walls", of("meshes", "thin_parts_are_not_lost_and_cavities_are_filled")),
    Mutant("data.scenes", "what is excluded is made", "entry.items() <= scene.items()", "entry.items() == scene.items()", of("scenes", "what_is_excluded_is_not_made")),
    Mutant("data.scenes", "labels of places in another order", "torch.tensor([[-1.0, 0.0], [1.0, 0.0],", "torch.tensor([[1.0, 0.0], [-1.0, 0.0],", of("scenes", "places_are_those_of_the_labels")),
    Mutant("data.scenes", "a scene depends on its company", "np.random.Philox(key=seed).advance(start * DRAWS // 4)", "np.random.Philox(key=seed).advance(start)", of("scenes", "a_scene_depends_on_seed_and_index_only")),
)  # fmt: skip
