"""`gansynth train`: a person's own images in, a generator for recipes out.

sources.py pictures in any container -> images.py one array of them -> loop.py batches, altered by augment.py
recipe.py what to train -> players.py networks and losses -> loop.py their steps -> run.py, a folder that result.py completes
"""
