"""Whether the predictions are right: labels that come later, joined to them on the stream. Part 3 of the plan.

Everything that is counted is an integer, and counts of parts add up to the counts of the whole: merging, lateness,
duplicates, corrections and replay are then one operation, addition. Floats appear where a figure is rendered.
"""
