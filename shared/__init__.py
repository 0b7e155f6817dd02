"""The vocabulary that dispensers and workers both speak."""
