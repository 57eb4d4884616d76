"""The stages that pipelines are made of, one package a modality; a pipeline's file names its own."""
