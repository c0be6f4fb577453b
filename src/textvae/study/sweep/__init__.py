"""`textvae sweep`: which settings pay, searched by Optuna over runs that are measured on valid, never on test.

space     what is searched: ranges by setting, from a default over any architecture or from a file
base      the settings every trial starts from, and the command that trains one again
workers   which processes of a sweep are alive, told by file locks
store     the trials in Optuna's journal, shared between processes and machines
trial     one trial: a run like any other, watched; what it came to, and which are best
search    the loop
report    the Pareto front or the best trials, as a table, JSON and commands;  figure: as a picture
"""
