"""Audio as data: its encodings, and WAV files."""
