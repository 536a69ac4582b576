"""What one visitor, and all together, may ask of the server: every limit of the app in one place, as plain data.

Whoever meets one is told in a sentence, on the page and over the API alike; SECURITY.md lists them for who runs it.
What the library limits for itself (pixels of a picture, length of a question) is told there and listed here.
"""

from lvlm.images import LONGEST_QUESTION, LONGEST_SIDE, MOST_PIXELS

__all__ = ["LONGEST_QUESTION", "LONGEST_SIDE", "MOST_PIXELS"]

HOST = "127.0.0.1"  # who is on this machine; more only by --host

LARGEST_UPLOAD = 64 * 2**20  # bytes of one request that uploads
LARGEST_MESSAGE = 4 * 2**20  # bytes of any other request's body: a figure's data is the largest that the page sends

LONGEST_ANSWER = 512  # tokens
HOTTEST = 1.5  # temperature
MOST_EXCHANGES = 50  # questions that a conversation keeps: the oldest make room

MOST_THREADS = 120  # of the server's own; each answer that is followed takes one
MOST_QUEUED = 200  # events that wait for one of those
MOST_IN_LINE = 100  # jobs that wait for the machine, each visitor's one job and one answer among them
MOST_DESKS = 500  # visitors and API workspaces that there are at once

KEPT_SECONDS = 3600  # for which what a visitor left behind is kept: a closed browser finds it again
KEPT_TRAINED_SECONDS = 24 * 3600  # where that is a healed model: somebody trained it overnight
SWEEP_SECONDS = 60  # between two looks at who has left
TRIM_SECONDS = 10  # after which freed memory goes back to the system
