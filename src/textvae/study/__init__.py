"""The study, run again: its tables and figures as it printed them, as its recipe gives them, and as ours does.

reproduce.py  `textvae reproduce`: what is missing is trained, the tables are written
printed.py    the figures of the study's Tables 1 and 2
tables.py     what each table trains: rows, budgets, seeds
jobs.py       one training to do, and what makes two of them the same
commands.py   the command line that trains a run again
records.py    one training done: a JSON file that is kept
worker.py     a process that does one job
runner.py     several of them side by side, going on where they were stopped
summaries.py  records of a row over its seeds; which is best, on valid
table3.py     Table 3: what models write
mixture.py    what a mixture prior has learned
pages/        records as tables to read
figures/      records and models as pictures
sweep/        search for settings (the study's section 7.1)
"""
