"""API calls of the conversation: a picture, a question to several models, and their answers read closely."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from lvlm.errors import LVLMError
from lvlm.images import check_question, open_image
from ui import looking, pictures, told
from ui.desk import Desk
from ui.endpoints.common import LOOK_SECONDS, at, ended, over, ready, uploaded
from ui.jobs import Job
from ui.talk import Exchange, How
from ui.workspace import Desks


def endpoints(desks: Desks) -> list[Callable]:
    async def show_picture(workspace: str, example: str = "", file: dict = {}) -> dict:
        """Put a picture on the table; a new conversation begins.

        Args:
            workspace: the name that open_workspace gave
            example: title of an example picture; with neither example nor file, their titles are given
            file: a picture of one's own, as gradio_client's handle_file uploads it
        Returns:
            picture: titles of the examples, and questions that fit the picture
        """
        desk = await at(desks, workspace)
        if example:
            named = pictures.named(example)
            if named is None:
                raise LVLMError(f'There is no example "{example}": choose {", ".join(pictures.titles())}.')
            desk.greeted = True
            desk.show(*named)
        elif file:
            desk.greeted = True
            desk.show(open_image(uploaded(file)), ())
        desk.version += 1
        return {"examples": pictures.titles(), "questions": list(desk.questions)}

    async def ask_models(
        workspace: str,
        question: str,
        variants: list[str] = [],
        max_new_tokens: int = 96,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> AsyncIterator[dict]:
        """Ask up to four models at hand about the picture on the table; their answers stream side by side.

        Args:
            workspace: the name that open_workspace gave
            question: what to ask
            variants: ids of the models; none: those that answered last
            max_new_tokens: the longest answer, 1 to 512
            temperature: 0 always takes the likeliest word; up to 1.5
            seed: of the random choices above temperature 0
        Returns:
            exchange: every model's answer so far; in the end with its speed
        """
        desk = await ready(desks, workspace)
        how = How.wished(max_new_tokens, temperature, seed)
        if variants:
            desk.variants.show(variants)
        if desk.answering is not None and desk.answering.busy:
            raise LVLMError("The last question is still being answered: please wait, or call cancel.")
        job = desk.ask(desk.image, check_question(question), **vars(how))
        async with aclosing(_growing(desk.asked, job)) as answers:
            async for said in answers:
                yield said

    async def ask_again(workspace: str, seed: int = -1) -> AsyncIterator[dict]:
        """Ask the last question again in the place of its answers, of the models that answer now.

        Args:
            workspace: the name that open_workspace gave
            seed: of the random choices, which there are above temperature 0; -1: the next one
        Returns:
            exchange: every model's answer so far; in the end with its speed
        """
        desk = await ready(desks, workspace)
        before = desk.talk[-1].how if desk.talk else How()
        wanted = before.seed + 1 if seed < 0 else seed
        how = How.wished(before.max_new_tokens, before.temperature, wanted)
        job = desk.ask(desk.image, desk.take_back().question, **vars(how))
        async with aclosing(_growing(desk.asked, job)) as answers:
            async for said in answers:
                yield said

    async def take_back(workspace: str) -> dict:
        """Take the last question and its answers out of the conversation.

        Args:
            workspace: the name that open_workspace gave
        Returns:
            exchange: what was taken out
        """
        return told.exchange((await at(desks, workspace)).take_back())

    async def compare_answers(workspace: str, variant: str) -> dict:
        """An answer to the last question, token by token, as the model that gave it and the first model asked see it.

        Args:
            workspace: the name that open_workspace gave
            variant: id of the model whose answer is read
        Returns:
            divergence: of every token its probability for both and the KL between them (nats); where the two part
        """
        desk = await at(desks, workspace)
        pair = await _pair(desk, variant)
        return told.divergence(pair)

    async def see_attention(workspace: str, variant: str, token: int = 0, layer: int = -1, head: int = -1) -> dict:
        """Where two models look in the picture when they choose a token of an answer to the last question.

        Args:
            workspace: the name that open_workspace gave
            variant: id of the model whose answer it is; the other is the first model asked
            token: place in the answer, from 0
            layer: counted in the original; -1: the mean of all
            head: of that layer; -1: the mean of all
        Returns:
            attention: weights of the cells of the grid, row by row, of both; null where the layer or head was cut out
        """
        desk = await at(desks, workspace)
        pair = await _pair(desk, variant)
        looking.point(desk, token, *(None if x < 0 else x for x in (layer, head)))
        await ended(looking.look(desk))
        return told.attention(desk, pair)

    async def _pair(desk: Desk, variant: str):
        if desk.talk:
            looking.choose(desk, desk.talk[-1], variant)
        pair = looking.chosen(desk)
        if pair is None or pair.other.id != variant:
            raise LVLMError(f"{variant} gave no answer that can be compared: ask it and another model first.")
        if (job := desk.looking.job) is not None:
            await over(job)  # small models read at once; what failed is begun anew
        await ended(looking.read(desk))
        return looking.chosen(desk)

    return [show_picture, ask_models, ask_again, take_back, compare_answers, see_attention]


async def _growing(exchange: Exchange, job: Job) -> AsyncIterator[dict]:
    """Everybody's answers whenever they have grown; closed, it cancels the job."""
    before = None
    try:
        while job.busy:
            said = told.exchange(exchange)
            if said != before:  # handing on what was said before costs the machine as much as a new word
                yield said
                before = said
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        job.cancel()  # ended, or whoever asked has hung up
    await ended(job)
    yield told.exchange(exchange)
