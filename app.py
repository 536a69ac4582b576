"""Starts the browser app."""

import argparse
import os


def main() -> None:
    parser = argparse.ArgumentParser(description="Prune a vision-language model and talk to both, in a browser.")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (default 7860)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
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

    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported
    from ui.page import build_app, launch

    launch(build_app(choice.model, memory_gib=choice.memory, one_user=choice.one_user), choice.port, choice.host)


if __name__ == "__main__":
    main()
