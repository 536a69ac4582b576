"""kill -9 at random moments of whatever writes: nothing half written is loaded as if whole, nothing finished is lost,
everything goes on to the same result, and what the dead leave behind does not grow."""

import sqlite3

from evaluation.casebook import Casebook
from evaluation.store import Store
from tests.faults import deeds
from tests.faults.children import Moment, held, moments, run

KILLS, SEED = 30, 8


def largest(folder) -> int:
    return max(x.stat().st_size for x in folder.rglob("*") if x.is_file())


def left_behind(folder) -> list:
    """What a death left half written: hidden parts, and whatever else is said to be one."""
    return [x for x in folder.rglob("*") if x.name.endswith((".part", ".incomplete")) or x.name.startswith(".tmp")]


def outermost(paths) -> list:
    return [x for x in paths if not any(y in x.parents for y in paths)]


def test_a_killed_save_leaves_the_old_model_or_the_new_one(tmp_path):
    """Dense, pruned and 8-bit models saved over one another: what loads is the one before or the one after, to the
    bit; the next save clears away what the dead one left."""
    digests = run(deeds.digests).result
    kinds, folder = list(digests), tmp_path / "at" / "model"
    run(deeds.save_over, "dense", folder)
    whole = [run(deeds.save_over, x, folder) for x in ("pruned", "int8", "dense")]
    assert [x.said for x in whole[1:]] == [[digests["pruned"]], [digests["int8"]]]
    may, deaths = {digests["dense"]}, 0
    for i, moment in enumerate(moments(SEED, KILLS, whole[0], largest(folder))):
        kind = kinds[i % 3]
        end = run(deeds.save_over, kind, folder, moment=moment)
        assert end.killed or end.refused is None, (moment, end)
        assert set(end.said) <= may, (moment, i)
        may = {*end.said, digests[kind]} if end.killed else {digests[kind]}
        deaths += end.killed
        assert len(outermost(left_behind(folder.parent))) <= 1, moment
    assert deaths > KILLS // 2
    assert run(deeds.save_over, "dense", folder).said[0] in may
    assert list(folder.parent.iterdir()) == [folder] and run(deeds.loaded, folder).result == digests["dense"]


def test_a_recovery_killed_again_and_again_comes_to_the_same_end(tmp_path):
    """Many deaths in one run, at checkpoints, while the teacher's outputs are kept, in between: the curve and the
    healed weights are those of a run that was left alone, and no checkpoint written is lost."""
    whole = run(deeds.heal, tmp_path / "whole")
    folder, runs, deaths, reached = tmp_path / "run", 0, 0, ""
    for moment in moments(SEED, KILLS, whole, largest(tmp_path / "whole")):
        near = Moment("operation", 1 + moment.at % 40) if moment.kind == "operation" else moment  # of a few updates
        end = run(deeds.heal, folder, moment=near)
        steps = sorted(x.name for x in (folder / "checkpoints").glob("step-*"))
        assert not reached or steps[-1] >= reached, near
        assert len(outermost(left_behind(folder))) <= 2, near
        reached, deaths = steps[-1] if steps else "", deaths + end.killed
        if not end.killed:  # it came to its end, and another one begins
            assert end.result == whole.result and left_behind(folder) == [], near
            runs, reached = runs + 1, ""
            folder = tmp_path / f"run{runs}"
    assert deaths > KILLS // 2, (deaths, runs)
    assert run(deeds.heal, folder).result == whole.result
    assert left_behind(folder) == []


def test_a_killed_evaluation_keeps_every_finished_cell(tmp_path):
    """Each result that was there stays; the next run adds what is missing, and in the end all answers are those of a
    run that was left alone."""
    models = run(deeds.save_seeds, tmp_path / "models", 4).result
    whole = run(deeds.examine, models, tmp_path / "whole")
    folder, before, deaths = tmp_path / "store", 0, 0
    for i, moment in enumerate(moments(SEED, KILLS, whole, 400)):
        folder = tmp_path / f"store{i // 6}"  # as long as six deaths last
        before = before if i % 6 else 0
        end = run(deeds.examine, models, folder, moment=moment)
        assert end.killed or end.result == whole.result, (moment, end)
        deaths += end.killed
        found = Store(folder, ()).results(deeds.cells(models))
        assert len(found) >= before, moment
        before = len(found)
        assert len(outermost(left_behind(folder))) <= 1, moment
        if i % 6 == 5:
            assert run(deeds.examine, models, folder).result == whole.result
            assert left_behind(folder) == []
    assert deaths > KILLS // 2


def test_workers_end_with_their_run(tmp_path):
    """A killed run leaves no process behind that waits for work with a model in memory."""
    lock = tmp_path / "busy"
    assert run(deeds.die_while_busy, lock).killed
    assert not held(lock, patience=60)


def test_a_kept_case_stays_kept(tmp_path):
    """Of each case that was said to be kept, whole, with its picture; of the one in hand all or nothing."""
    whole = run(deeds.keep, tmp_path / "whole.sqlite")
    assert len(whole.said) == deeds.CASES
    file, kept, deaths = tmp_path / "cases.sqlite", set(), 0
    for moment in moments(SEED, KILLS, whole, (tmp_path / "whole.sqlite").stat().st_size):
        end = run(deeds.keep, file, moment=moment)
        # a clock's kill may come late where others compute: then all were kept
        assert end.killed or end.refused or len(end.said) == deeds.CASES, (moment, end)
        kept, deaths = kept | set(end.said), deaths + end.killed
        found = Casebook(file).find()
        assert kept <= {x.id for x in found} and len(found) <= len(kept) + deaths, moment
        assert all(x.image.size == (90, 90) for x in found)
    assert deaths > KILLS // 2
    with sqlite3.connect(file) as book:
        assert book.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert book.execute("SELECT count(*) FROM pictures").fetchone()[0] <= deeds.CASES
    book.close()


def test_a_killed_download_is_not_taken_for_a_model(tmp_path):
    """Without the network the rest is asked for, or the model is whole; with it the download goes on."""
    source = run(deeds.save_seeds, tmp_path, 1).result[0]
    digest = run(deeds.loaded, source).result
    whole = run(deeds.fetch, source, tmp_path / "whole")
    assert whole.result == digest
    deaths, lacking = 0, 0
    for i, moment in enumerate(moments(SEED, KILLS // 2, whole, largest(source))):
        cache = tmp_path / f"cache{i}"
        end = run(deeds.fetch, source, cache, moment=moment)
        assert end.killed or end.result == digest, (moment, end)
        deaths += end.killed
        offline = run(deeds.fetch, source, cache, False)
        assert offline.result == digest or "please" in offline.refused, (moment, offline)
        lacking += offline.refused is not None
        if i % 3 == 0:
            assert run(deeds.fetch, source, cache).result == digest
    assert deaths > KILLS // 4 and lacking > 3, (deaths, lacking)
