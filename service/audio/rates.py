"""THE table of sample rates between which audio can be resampled."""

#: Samples a second: telephony, speech recognizers and synthesizers, and sound cards.
RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
