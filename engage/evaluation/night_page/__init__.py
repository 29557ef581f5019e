"""The page of a night and of a scenario: dialogues, trees, pairs and figures in one file of HTML."""

from engage.evaluation.night_page.evidence import scenario_page

__all__ = ["scenario_page"]
