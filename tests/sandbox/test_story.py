"""A story may claim only what was checked."""

import json

import pytest

from sandbox.story import NotTrue, Story


def test_a_false_claim_ends_the_story_and_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    story = Story(machine=True)
    story.scene("One")
    story.check("water is wet", true=True)
    with pytest.raises(NotTrue):
        story.check("water is dry", true=False, evidence="a wet hand")
    story.end(failure="water is dry")
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["claims"], told["held"]) == (False, 2, 1)
    assert told["scenes"][0]["claims"][1]["evidence"] == "a wet hand"


def test_a_story_for_a_person_has_no_colours_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    story = Story()
    story.scene("One")
    story.check("water is wet", true=True)
    story.end(closing=("verified",))
    told = capsys.readouterr().out
    assert "\033" not in told
    assert told.rstrip().endswith("verified")
