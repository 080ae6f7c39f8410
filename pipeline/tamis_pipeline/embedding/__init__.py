"""From a catalogue's texts and pictures to content vectors."""
