"""What there is: the tracks of a catalogue and where their audio lies."""
