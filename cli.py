"""The whole way without a browser: each verb is one call of the library and reads and writes the library's own files.

The verbs are in terminal/, which is read in the order of the work: --help lists them so.
"""

from terminal import deciding, making, measuring  # noqa: F401
from terminal.console import app

if __name__ == "__main__":
    app()
