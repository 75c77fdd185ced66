"""Broken files and texts for every reader: what crashes, hangs, grows or ends in a traceback is kept as a small file.

`readers` says what is read, `seeds` makes valid files, `mutations` and `values` spoil them, `worker` reads them in a
process of its own that `child` watches, `campaign` decides, shrinks and keeps.
"""
