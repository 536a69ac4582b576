"""API calls about failure cases: kept of an answer or of a hunt, found, judged, exported, opened again and deleted."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from lvlm.errors import LVLMError
from ui import casefile, hunting, keeping, reopening, results
from ui.desk import Desk
from ui.endpoints.common import as_file, at, ended
from ui.exporting import exported
from ui.workspace import Desks


def endpoints(desks: Desks, whose: Callable[[Desk], str | None]) -> list[Callable]:
    """whose(desk): the owner of the cases that it may list and change; None: everybody's."""

    async def keep_case(workspace: str, verdict: str = "", tags: list[str] = [], note: str = "") -> dict:
        """Keep the last question with everybody's answers as a case.

        Args:
            workspace: the name that open_workspace gave
            verdict: fails, worse, as-good, better or both-fail; empty: not judged
            tags: of miscount, wrong-object, semantic-shift, hallucination, gibberish, refusal
            note: anything
        Returns:
            case: the case, whose id a link may carry: ?case=id
        """
        desk = await at(desks, workspace)
        found = await asyncio.to_thread(keeping.keep_talk, desk)
        if verdict or tags or note:
            keeping.judge(desk, whose(desk), verdict, tags, note)
        return results.case(casefile.book().get(found.id))

    async def keep_failure(workspace: str, place: int) -> dict:
        """Keep a failure that the last hunt caught as a case, with every model's answer.

        Args:
            workspace: the name that open_workspace gave
            place: of the question, as hunt gave it
        Returns:
            case: the case, judged as failing
        """
        desk = await at(desks, workspace)
        found = await asyncio.to_thread(hunting.keep, desk, place)
        desk.keeping.chosen = found.id
        desk.keeping.version += 1
        return results.case(found)

    async def list_cases(
        workspace: str,
        task: str = "",
        verdict: str = "",
        tag: str = "",
        kind: str = "",
        removed: str = "",
        text: str = "",
    ) -> list[dict]:
        """The kept cases that fit, newest first: of this workspace, or of everybody where the app serves one user.

        Args:
            workspace: the name that open_workspace gave
            task: of the question, such as count; empty, here and below: any
            verdict: fails, worse, as-good, better or both-fail; none: those that were not judged
            tag: miscount, wrong-object, semantic-shift, hallucination, gibberish or refusal
            kind: with an answer of a model of this kind: pruned, recovered or int8
            removed: share of the model that is gone: up to 30%, 30 to 50%, or above 50%
            text: words in the question, an answer or the note
        Returns:
            cases: without their pictures
        """
        desk = await at(desks, workspace)
        keeping.look_for(desk, task, verdict, tag, kind, removed, text)
        return [results.case(x) for x in await asyncio.to_thread(keeping.cases, desk, whose(desk))]

    async def judge_case(workspace: str, case: str, verdict: str = "", tags: list[str] = [], note: str = "") -> dict:
        """Say what you think of a kept case; replaces what was said before.

        Args:
            workspace: the name that open_workspace gave
            case: id of the case
            verdict: fails, worse, as-good, better or both-fail; empty: not judged
            tags: of miscount, wrong-object, semantic-shift, hallucination, gibberish, refusal
            note: anything
        Returns:
            case: as it is now
        """
        desk = await at(desks, workspace)
        _choose(desk, case)
        keeping.judge(desk, whose(desk), verdict, tags, note)
        return results.case(casefile.book().get(case))

    async def export_cases(workspace: str, kind: str = "jsonl") -> dict:
        """The cases that list_cases let through last (all, before), as a file.

        Args:
            workspace: the name that open_workspace gave
            kind: csv (for a spreadsheet), jsonl (everything, which reads back), or html (one page with the pictures)
        Returns:
            file: the file
        """
        desk = await at(desks, workspace)
        return as_file(Path(await asyncio.to_thread(exported, desk, whose(desk), kind)))

    async def reopen_case(workspace: str, case: str) -> dict:
        """Open a case again: its models are made anew (nothing is trained) and asked with the same seed.

        Args:
            workspace: the name that open_workspace gave
            case: id of the case, whoever kept it
        Returns:
            again: every answer then and now, and whether all are the same
        """
        desk = await at(desks, workspace)
        job = reopening.reopen(desk, case)
        await ended(job)
        if desk.job is not job:  # the case's model had to be loaded first
            await ended(desk.job)
        found = desk.keeping.again
        if found is None or found.case.id != case:
            raise LVLMError("Something else was begun in this workspace meanwhile: please open the case again.")
        return results.again(found)

    async def delete_case(workspace: str, case: str) -> list[dict]:
        """Delete a kept case for good.

        Args:
            workspace: the name that open_workspace gave
            case: id of the case
        Returns:
            cases: those that are left, as list_cases filtered them last
        """
        desk = await at(desks, workspace)
        _choose(desk, case)
        desk.keeping.sure = case  # the page's button asks twice
        keeping.drop(desk, whose(desk))
        return [results.case(x) for x in keeping.cases(desk, whose(desk))]

    return [keep_case, keep_failure, list_cases, judge_case, export_cases, reopen_case, delete_case]


def _choose(desk: Desk, case: str) -> None:
    """Look at a case. Raises BadCase for none."""
    desk.keeping.chosen, desk.keeping.sure = casefile.book().get(case).id, None
