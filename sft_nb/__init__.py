"""Learn supervised fine-tuning by running it."""
__version__ = "0.1.0"
