"""The pool at work: what the node agent's role vpc does, but for its process.

listener.py, answers.py   programs ask over a socket
ledger.py, record.py      the pool under a lock, and on disk
keeper.py                 the one thread that calls the cloud: looks, goes on, plans
making.py, freeing.py     what takes more than one call, step by step
looking.py                what the cloud says against what we hold
patience.py               when to try again
"""
