"""The stages, each once; modalities list those that suit them."""
