"""Rules of the diagnosis: each looks at one thing that can be wrong and says what mending it would save."""
