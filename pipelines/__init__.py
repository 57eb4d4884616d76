"""The work: stages in an order, their settings, their run folder."""

import os
import sys

if sys.argv[:1] == ["-m"] and sys.path[:1] == [os.getcwd()] and not __file__.startswith(os.path.join(sys.path[0], "")):
    # `python -m pipelines.run`, which puts the current folder first: a data.py there would be taken for our package.
    del sys.path[0]
