"""What comes from outside, made up by hypothesis: it is taken, or refused with an error that says what to do."""
