"""A small CLIP of the project's own, trained on a catalogue's pictures and texts: for catalogues
that a published one knows little of, and where none can be downloaded."""
