"""From the bytes of an audio file to features and a mel spectrogram: numpy alone, no Spark."""
