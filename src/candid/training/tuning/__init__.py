"""A search over settings, on Optuna: many short trainings, pruned early, then finalists again.

Everything that processes share lies in one storage, by default an SQLite file: the trials of the
search in one study, the repetitions of the finalists and the last training in another. So several
processes, or machines with a database or a shared folder between them, work in parallel. If one is
killed, its heartbeat stops, and another process takes its trial over.

Two things keep processes from doing the same work twice. A trial's suggestions are drawn from the
study's seed and the trial's number, not from a stream that every process begins anew. And a trial
with the settings of one with a lower number withdraws.
"""
