"""How good a set of images is, measured on features that are named with every figure."""
