"""Cases and votes in one SQLite file, which several threads and processes may use at once.

Every change is one transaction in write-ahead mode: a killed process leaves the file as it was before or after it.
`MIGRATIONS` lead from any earlier version of the file to this one.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from evaluation.cases import BadCase, Case, Filter, check_judgement
from evaluation.votes import Contender, Vote
from lvlm import LVLMError

MOST = 1000  # cases an owner, so that nobody fills a shared disk
PATIENCE = 20  # seconds that a change waits for another process's
# Number i leads from version i to i + 1 of the file (SQLite's user_version); a released one is never changed.
MIGRATIONS = (
    """
    CREATE TABLE pictures (digest TEXT PRIMARY KEY, png BLOB NOT NULL);
    CREATE TABLE cases (
        id TEXT PRIMARY KEY, owner TEXT NOT NULL, kept TEXT NOT NULL, task TEXT, verdict TEXT NOT NULL,
        removed REAL NOT NULL, words TEXT NOT NULL, picture TEXT REFERENCES pictures, data TEXT NOT NULL);
    CREATE INDEX cases_of ON cases (owner, kept);
    CREATE TABLE tags (id TEXT NOT NULL REFERENCES cases ON DELETE CASCADE, tag TEXT NOT NULL, PRIMARY KEY (id, tag));
    CREATE TABLE kinds (
        id TEXT NOT NULL REFERENCES cases ON DELETE CASCADE, kind TEXT NOT NULL, PRIMARY KEY (id, kind));
    """,
    """
    CREATE TABLE votes (
        place INTEGER PRIMARY KEY, owner TEXT NOT NULL, digest TEXT NOT NULL, outcome TEXT NOT NULL,
        data TEXT NOT NULL);
    CREATE INDEX votes_of ON votes (owner, digest);
    """,
)


@dataclass(frozen=True)
class Casebook:
    """The file's cases and votes. An owner is any text; `owner=None` means everybody's."""

    file: Path

    # --- cases ---

    def keep(self, case: Case, owner: str) -> None:
        """Add a case. Raises BadCase where the owner has `MOST` already, LVLMError where the disk does not take it."""
        picture = None if case.picture is None else hashlib.sha256(case.picture).hexdigest()
        removed = max(x.ratio for x in case.sides)
        with self._open(changes=True) as file:
            (n,) = file.execute("SELECT count(*) FROM cases WHERE owner = ?", (owner,)).fetchone()
            if n >= MOST:
                raise BadCase(f"{MOST:,} cases are kept already: please export them, and delete some.")
            if picture:
                file.execute("INSERT OR IGNORE INTO pictures VALUES (?, ?)", (picture, case.picture))
            row = (case.id, owner, case.kept, case.task, case.verdict, removed, case.words, picture, _text(case))
            file.execute("INSERT INTO cases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            file.executemany("INSERT INTO kinds VALUES (?, ?)", [(case.id, x) for x in {y.kind for y in case.sides}])
            _tag(file, case)

    def get(self, id: str) -> Case:
        """One case, whoever owns it. Raises BadCase where there is none."""
        with self._open() as file:
            data, picture = _own(file, id, None)
            return _case(file, data, picture)

    def owner(self, id: str) -> str | None:
        """Whose it is; None where there is no such case."""
        with self._open() as file:
            row = file.execute("SELECT owner FROM cases WHERE id = ?", (id,)).fetchone()
            return row and row[0]

    def find(self, which: Filter = Filter(), owner: str | None = None, pictures: bool = True) -> list[Case]:
        """Those that the filter lets through, newest first."""
        asked, given = ["removed BETWEEN ? AND ?"], [which.least, which.most]
        for value, condition in (
            (owner, "owner = ?"),
            (which.verdict, "verdict = ?"),
            (which.task or None, "task = ?"),
            (which.tag or None, "id IN (SELECT id FROM tags WHERE tag = ?)"),
            (which.kind or None, "id IN (SELECT id FROM kinds WHERE kind = ?)"),
            (which.text.strip().casefold() or None, "instr(words, ?)"),
        ):
            if value is not None:
                asked.append(condition)
                given.append(value)
        where = " AND ".join(asked)  # of the fixed conditions above; what a person typed is bound
        with self._open() as file:
            rows = file.execute(f"SELECT data, picture FROM cases WHERE {where} ORDER BY kept DESC, rowid DESC", given)
            return [_case(file, data, picture if pictures else None) for data, picture in rows.fetchall()]

    def tasks(self, owner: str | None = None) -> list[str]:
        """Of the cases there are."""
        with self._open() as file:
            asked = (
                "SELECT DISTINCT task FROM cases WHERE task IS NOT NULL AND (?1 IS NULL OR owner = ?1) ORDER BY task"
            )
            return [x for (x,) in file.execute(asked, (owner,))]

    def judge(self, id: str, verdict: str, tags, note: str, owner: str | None = None) -> Case:
        """Change what a person thinks of a case. Raises BadCase for another owner's, and for no such verdict or tag."""
        check_judgement(verdict, tags, note)
        with self._open(changes=True) as file:
            data, picture = _own(file, id, owner)
            case = _case(file, data, None).judged(verdict, tags, note)
            changed = (case.verdict, case.words, _text(case), id)
            file.execute("UPDATE cases SET verdict = ?, words = ?, data = ? WHERE id = ?", changed)
            _tag(file, case)
            return _case(file, _text(case), picture)

    def reread(self, id: str, place: int, divergence: dict) -> None:
        """Add how far one answer of a case parts from what the original would have said, and change nothing else.
        Raises BadCase where the case is gone."""
        with self._open(changes=True) as file:
            data, _ = _own(file, id, None)
            case = _case(file, data, None).reread(place, divergence)
            file.execute("UPDATE cases SET data = ? WHERE id = ?", (_text(case), id))

    def drop(self, id: str, owner: str | None = None) -> None:
        """Delete a case, and its picture where no other has it. Raises BadCase for another owner's."""
        with self._open(changes=True) as file:
            _, picture = _own(file, id, owner)
            file.execute("DELETE FROM cases WHERE id = ?", (id,))
            file.execute("DELETE FROM pictures WHERE digest = ?1 AND NOT EXISTS "
                         "(SELECT 1 FROM cases WHERE picture = ?1)", (picture,))  # fmt: skip

    # --- votes ---

    def vote(self, vote: Vote, owner: str) -> None:
        """Count one."""
        row = (owner, vote.digest, vote.outcome, json.dumps(asdict(vote)))
        with self._open(changes=True) as file:
            file.execute("INSERT INTO votes (owner, digest, outcome, data) VALUES (?, ?, ?, ?)", row)

    def votes(self, digest: str, owner: str | None = None) -> list[Vote]:
        """On variants of the model with this digest, oldest first."""
        with self._open() as file:
            asked = "SELECT data FROM votes WHERE digest = ?1 AND (?2 IS NULL OR owner = ?2) ORDER BY place"
            return [_vote(json.loads(x)) for (x,) in file.execute(asked, (digest, owner))]

    # --- the file ---

    @contextmanager
    def _open(self, changes: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection inside one transaction, alone from its begin on if it `changes` anything; readers wait for
        nobody. Raises LVLMError where the file cannot be used."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            file = sqlite3.connect(self.file, timeout=PATIENCE, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error
        try:
            file.execute("PRAGMA journal_mode = WAL")
            file.execute("PRAGMA foreign_keys = ON")
            if _version(file) != len(MIGRATIONS):
                migrate(file)
            file.execute("BEGIN IMMEDIATE" if changes else "BEGIN")
            yield file
            file.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        finally:
            file.close()  # what was not committed is undone

    def _unusable(self, error: Exception) -> LVLMError:
        return LVLMError(
            f"The file of kept cases, {self.file}, cannot be used ({error}): please free space there, mend or move the "
            "file, or set XDG_DATA_HOME to another folder."
        )


def _version(file: sqlite3.Connection) -> int:
    return file.execute("PRAGMA user_version").fetchone()[0]


def migrate(file: sqlite3.Connection, to: int = len(MIGRATIONS)) -> None:
    """Lead a file to version `to`, all or nothing. Raises LVLMError for one that a later program wrote."""
    file.execute("BEGIN IMMEDIATE")
    try:
        if (version := _version(file)) > to:  # read again: another process may have been quicker
            raise LVLMError(
                f"The kept cases were written by a later version of this program (schema {version}, this one knows "
                f"{to}): please update it."
            )
        for script in MIGRATIONS[version:to]:
            for statement in script.split(";"):
                file.execute(statement)
        file.execute(f"PRAGMA user_version = {to}")
        file.execute("COMMIT")
    except BaseException:
        file.execute("ROLLBACK")
        raise


def _own(file: sqlite3.Connection, id: str, owner: str | None) -> tuple[str, str | None]:
    """(data, picture's digest) of a case, if it is this owner's."""
    known = id.isascii()  # what a link holds may be anything
    row = file.execute("SELECT data, picture, owner FROM cases WHERE id = ?", (id,)).fetchone() if known else None
    if row is None:
        raise BadCase(f"There is no case {id[:40]!r} here: it was deleted, or kept by another server.")
    if owner is not None and row[2] != owner:
        raise BadCase("This case was kept in another session, which alone can change it: please keep one of your own.")
    return row[0], row[1]


def _tag(file: sqlite3.Connection, case: Case) -> None:
    file.execute("DELETE FROM tags WHERE id = ?", (case.id,))
    file.executemany("INSERT INTO tags VALUES (?, ?)", [(case.id, x) for x in case.tags])


def _text(case: Case) -> str:
    return json.dumps(case.to_dict(picture=False))


def _case(file: sqlite3.Connection, data: str, picture: str | None) -> Case:
    case = Case.from_dict(json.loads(data))
    if picture is None:
        return case
    (png,) = file.execute("SELECT png FROM pictures WHERE digest = ?", (picture,)).fetchone()
    return replace(case, picture=png)


def _vote(data: dict) -> Vote:
    sides = {x: Contender(**data[x]) for x in ("left", "right")}
    return Vote(**data | sides | {"answers": tuple(data["answers"])})
