"""Starts the browser app."""

import argparse
import os
import signal


def main() -> None:
    parser = argparse.ArgumentParser(description="Prune a vision-language model and talk to both, in a browser.")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (default 7860)")
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1, for this machine's own names only)")
    parser.add_argument(
        "--auth",
        metavar="WHO",
        help="who may enter: user:password, or @FILE with such lines, which keeps them out of the list of processes",
    )
    parser.add_argument("--model", default="pocket-llava", help="catalogue name, hub id or folder to open with")
    parser.add_argument(
        "--memory",
        type=float,
        metavar="GiB",
        help="memory that all visitors' models may take together (default: 60%% of what is free at the start)",
    )
    parser.add_argument(
        "--one-user", action="store_true", help="list all kept cases, instead of those of the browser session that asks"
    )
    choice = parser.parse_args()
    if choice.memory is not None and choice.memory <= 0:
        parser.error("--memory is how many GiB all models may take together: please give more than 0")

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does, with nothing left behind
    from ui import heap

    heap.begin()  # before there are threads, and the libraries
    from lvlm.disk import home
    from lvlm.errors import LVLMError

    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported
    # Else it keeps a record of each of ten thousand events, and draws statistics from all of them after every single
    # one, for a dashboard that is not served here.
    os.environ |= {"GRADIO_ANALYTICS_MAX_EVENTS": "1", "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(2**62)}
    os.environ["GRADIO_TEMP_DIR"] = str(home() / "served")  # what is handed in and out: gone with this process
    from ui.page import build_app
    from ui.serving import OPEN, accounts, is_open, launch

    try:
        auth = accounts(choice.auth) if choice.auth else None
    except LVLMError as error:
        parser.error(str(error))
    if is_open(choice.host) and not auth:
        print(OPEN.format(host=choice.host, port=choice.port))
    app = build_app(choice.model, memory_gib=choice.memory, one_user=choice.one_user)
    heap.settle()
    app.desks.prepare(choice.model)  # while the browser still draws the page
    launch(app, choice.port, choice.host, auth)


if __name__ == "__main__":
    main()
