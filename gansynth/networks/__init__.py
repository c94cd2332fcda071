"""Networks that gansynth trains itself: generator and discriminator of each architecture side by side, in plain PyTorch."""
