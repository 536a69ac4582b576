"""Commands of the command line, run in this process."""

import json

import pytest
from typer.testing import CliRunner

import cli


def run(*words, code=0, **options):
    """The result of a command, which must end with this exit code and never with a traceback."""
    result = CliRunner().invoke(cli.app, [str(x) for x in words], **options)
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def answered(*words, **options):
    """What a command prints with --json; nothing else may be printed."""
    result = run(*words, "--json", **options)
    assert result.stderr == ""
    return json.loads(result.stdout, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def refused(*words, **options):
    """The one sentence that a command refuses with."""
    result = run(*words, code=1, **options)
    assert result.stdout == "" and result.stderr.count("\n") == 1
    return result.stderr.strip()
