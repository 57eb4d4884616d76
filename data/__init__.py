"""The material: how images, video and voxels are read, written, or made from a seed."""
