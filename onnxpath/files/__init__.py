"""The user's own files: running them as a user's program would, and what they say of themselves
(docs/running.md).

Everything else in this package proves things about a *network* that was read out of a file. What ships is the
file, run by a runtime.
"""
