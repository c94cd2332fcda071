"""`gansynth bench`: the generator and the pipeline beside the loop that a user of the libraries would write.

Whatever is compared alternates in one run on the same number of threads, since machines differ from minute to minute;
figures are medians over the rounds.
"""
