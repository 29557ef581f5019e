"""Kinds of dialogue. Two are shipped; a user's own is named `package.module:OBJECT`."""

from engage.domains.base import Domain, UserCondition, load_domain, reward_of
from engage.survey import Survey

__all__ = ["Domain", "Survey", "UserCondition", "load_domain", "reward_of"]
