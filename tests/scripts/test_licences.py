"""The licences: nothing ships, and nothing is installed, whose licence is not listed."""

import pytest

from scripts import document_licences as licences
from scripts.lock import FILES, locked


def test_the_page_is_current():
    """`python -m scripts.document_licences` would change nothing."""
    assert licences.PAGE.read_text(encoding="utf-8") == licences.page()


def test_every_shipped_file_is_listed():
    """A new picture, model, word list or script brings its line, and a line that covers nothing goes."""
    assert licences.unlisted() == []
    assert [files for files, _, _ in licences.SHIPPED if not any(licences.ROOT.glob(files))] == []


@pytest.mark.parametrize("lock", [x for x in FILES if x not in licences.APART])
def test_every_installed_package_names_its_licence(lock):
    """Whether from metadata or by hand, each locked package has one; what is said by hand is of packages wanted elsewhere."""
    for name in locked()[lock]:
        found = licences.licence_of(name)
        assert found != "see its files" and (found or name in licences.ELSEWHERE or name.startswith("nvidia-")), name
