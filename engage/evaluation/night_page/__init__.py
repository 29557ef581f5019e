"""The page of a night and of a scenario: dialogues, trees, pairs and figures in one file of HTML."""

from engage.evaluation.night_page.evidence import scenario_page
from engage.evaluation.night_page.gains import keep_verdict
from engage.evaluation.night_page.page import night_page

__all__ = ["keep_verdict", "night_page", "scenario_page"]
